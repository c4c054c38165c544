"""Exhaustive models of the delivery protocol: small, and checked with every step's wrong twin."""
