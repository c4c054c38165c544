"""Ways to break the product, each with the test that has to fail because of it."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """A way to break the product: `old`, found once in `file`, becomes `new`; `test` must fail."""

    file: str
    old: str
    new: str
    test: str


def of_gateway(module, *broken):
    """The ways in which a module of the gateway is broken: each what, by what, and its test."""
    return tuple(Mutation(f"services/gateway/{module}.py", *each) for each in broken)
