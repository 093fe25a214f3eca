"""A raw output of a network, as far as its place among the others depends on it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_NO_LETTERS = re.compile(r"[^a-z]+")

Dims = tuple[int, ...]
"""An output's dimensions for a batch of one."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output's name, its dimensions for a batch of one, and whether it holds integers.

    Outputs of the same `origin` are the same scores, as logits and their softmax are; empty where it is not known.
    """

    name: str
    dims: Dims
    is_integer: bool = False
    origin: str = ""

    @property
    def words(self) -> list[str]:
        """The words of the name, in lower case, as `pred` and `boxes` of `pred_boxes`."""
        return _NO_LETTERS.split(self.name.lower())


def in_front(outputs: Sequence[Tensor], suits: Callable[[Dims], bool]) -> list[Tensor]:
    """Return the outputs with the first one that suits in front."""
    best = next((one for one in outputs if suits(one.dims)), None)
    return list(outputs) if best is None else [best, *(one for one in outputs if one is not best)]
