"""Grantgate's services, which know each other only through `shared`."""
