"""Grantgate's tests."""
