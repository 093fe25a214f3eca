"""A large image in parts: what is computed in floating point is computed a part at a time."""

from collections.abc import Iterator

Pixels = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole pixels; right and bottom are exclusive."""

BLOCK_SIDE = 4096
BLOCK_PIXELS = 1 << 20
"""Pixels of a part at most. In floating point, the whole of the largest image would take gigabytes."""


def blocks(width: int, height: int) -> Iterator[Pixels]:
    """Yield the parts that together cover an image of this size, from the top, each row from the left."""
    down = BLOCK_PIXELS // min(width, BLOCK_SIDE)
    for top in range(0, height, down):
        for left in range(0, width, BLOCK_SIDE):
            yield left, top, min(width, left + BLOCK_SIDE), min(height, top + down)


def overlap(one: Pixels, other: Pixels) -> Pixels | None:
    """Return the part that two parts of an image share, None where they share nothing."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    return (left, top, right, bottom) if left < right and top < bottom else None
