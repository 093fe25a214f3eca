"""A raw output of a network, as far as its place among the others depends on it."""

from dataclasses import dataclass

Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output's name, its dimensions for a batch of one, and whether it holds integers."""

    name: str
    dims: Dims
    is_integer: bool = False
