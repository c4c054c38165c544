"""The product through its failures, and a search for secrets in all that it shows of itself."""
