"""The contracts and plumbing that at least two services need; imports no service."""
