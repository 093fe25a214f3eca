"""Which families of networks the tests export: one of each kind, or with `make families` all of them."""

import os
from typing import TypeVar

_Network = TypeVar("_Network")


def families(*kinds: _Network, others: tuple[_Network, ...]) -> list[_Network]:
    """Return what stands for each kind, and with FAMILIES set the others too, which take minutes.

    Args:
        kinds: networks that differ in what their export has to do.
        others: networks that are exported as one of these is.
    """
    return [*kinds, *(others if "FAMILIES" in os.environ else ())]
