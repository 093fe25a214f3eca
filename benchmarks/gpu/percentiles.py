"""Percentiles of latencies, by the nearest rank."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of all values does not exceed; None without values.

    Args:
        values: in any order.
        share: above 0 and up to 1.
    """
    if not values:
        return None
    ordered = sorted(values)
    # A product such as 0.99 · 100 may lie a rounding above its whole number.
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[max(rank, 1) - 1]
