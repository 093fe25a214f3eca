"""`len(tensor)` in a network's own code, as a size that stays free while the network is captured."""

import builtins
import sys
from collections.abc import Iterator, Sized
from contextlib import contextmanager

from torch import SymInt, Tensor, nn


def length(one: Sized) -> int | SymInt:
    """Return what `len` does, and for a tensor the size of its first axis, which may be a symbol."""
    return one.size(0) if isinstance(one, Tensor) and one.dim() else builtins.len(one)


@contextmanager
def free_lengths(network: nn.Module) -> Iterator[None]:
    """Let `len(batch)` leave the size of a batch free until the block ends, in the files of the network's modules.

    Python makes a plain number of what `len` returns. PyTorch then takes the batch for one of that size, refuses its
    capture, and tries another way, which takes three times as long. PyTorch's own files do without it.
    """
    names = {type(part).__module__ for part in network.modules()}
    files = [
        vars(sys.modules[name])
        for name in sorted(names)
        if name in sys.modules and not name.startswith("torch.")
    ]
    changed = [names_of for names_of in files if "len" not in names_of]
    for names_of in changed:
        names_of["len"] = length
    try:
        yield
    finally:
        for names_of in changed:
            del names_of["len"]
