"""Whether one way of reading labeled images is better than another on too few images to tell it from luck."""

from collections.abc import Sequence
from math import comb

LUCK = 0.002
"""How often luck alone may look as good; several ways are tried. Nine images of nine that became better suffice."""


def is_luck(better: Sequence[float], current: Sequence[float]) -> bool:
    """Return whether luck explains how many images have a larger score, of those whose score differs (sign test).

    Args:
        better: the score of each image with what may be better.
        current: the score of each image without it.
    """
    pairs = list(zip(better, current, strict=True))
    gained = sum(new > old for new, old in pairs)
    differ = gained + sum(new < old for new, old in pairs)
    by_luck = sum(comb(differ, count) for count in range(gained, differ + 1))
    return by_luck / (1 << differ) > LUCK
