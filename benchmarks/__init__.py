"""What Grantgate costs, measured beside what it replaces, in one run."""
