"""The range that the eight bits of an activation span, found from samples of its values.

The full range has a level for the rarest value, and coarse steps for all others. A narrower one clips the rare values.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RangeRule = Literal["full", "percentile", "squared error", "entropy"]
RULES: tuple[RangeRule, ...] = ("full", "percentile", "squared error", "entropy")

Range = tuple[float, float]
Samples = NDArray[np.float32]

LEVELS = 255
KEPT = 99.99
"""With `percentile`, the share of the values that lies inside, in percent."""

SHARES = np.linspace(1.0, 0.3, 36)
"""The shares of the full range that are tried."""

BINS = 2048
"""Of the histogram whose entropy is compared, as TensorRT has it (Migacz 2017)."""


def narrowed(rule: RangeRule, full: Range, samples: Samples) -> Range:
    """Return the range of a tensor by a rule; it contains 0 and is never wider than the full range.

    Args:
        rule: `full` keeps the range; `percentile` clips one value in 10,000; `squared error` and `entropy` take the
            share of the full range with the least squared error of the samples, or with the least Kullback-Leibler
            divergence of their histogram.
        full: the lowest and the highest value.
        samples: values of the tensor, (n,).
    """
    if rule == "full" or not len(samples) or full[0] == full[1]:
        return full
    if rule == "percentile":
        ends = np.percentile(samples, [100 - KEPT, KEPT])
        return max(full[0], min(0.0, float(ends[0]))), min(full[1], max(0.0, float(ends[1])))
    cost = _COSTS[rule]
    best = min(SHARES, key=lambda share: cost(samples, full[0] * share, full[1] * share))
    return full[0] * float(best), full[1] * float(best)


def _squared_error(samples: Samples, low: float, high: float) -> float:
    step = (high - low) / LEVELS
    rounded = np.rint(np.clip(samples, low, high) / step) * step
    return float(np.square(samples - rounded).mean())


def _divergence(samples: Samples, low: float, high: float) -> float:
    """Return how much the histogram of the clipped samples loses when it has one value for each level."""
    counts, _ = np.histogram(np.clip(samples, low, high), BINS, (low, high))
    levels = np.array_split(counts, LEVELS + 1)
    coarse = np.concatenate(
        [np.where(part > 0, part.sum() / max(1, (part > 0).sum()), 0) for part in levels]
    )
    inside, _ = np.histogram(samples, BINS, (low, high))
    exact = counts / counts.sum()
    coarse = np.where(inside > 0, coarse, 0)
    coarse = coarse / max(coarse.sum(), 1)
    seen = exact > 0
    return float((exact[seen] * np.log(exact[seen] / np.maximum(coarse[seen], 1e-9))).sum())


_COSTS: dict[RangeRule, Callable[[Samples, float, float], float]] = {
    "squared error": _squared_error,
    "entropy": _divergence,
}
