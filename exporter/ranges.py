"""The range that the eight bits of an activation span, found from samples of its values.

The full range has a level for the rarest value, and coarse steps for all others. A narrower one clips the rare values.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

RangeRule = Literal["full", "squared error", "percentile"]
RULES: tuple[RangeRule, ...] = ("full", "squared error", "percentile")

Range = tuple[float, float]
Samples = NDArray[np.float32]

LEVELS = 255
KEPT = 99.99
"""With `percentile`, the share of the values that lies inside, in percent."""

SHARES = np.linspace(1.0, 0.3, 36)
"""The shares of the full range that are tried."""


def narrowed(rule: RangeRule, full: Range, samples: Samples) -> Range:
    """Return the range of a tensor by a rule; it contains 0 and is never wider than the full range.

    Args:
        rule: `full` keeps the range; `squared error` takes the share of it with the least squared error of the samples;
            `percentile` clips one value in 10,000 at each end.
        full: the lowest and the highest value.
        samples: values of the tensor, (n,).
    """
    if rule == "full" or not len(samples) or full[0] == full[1]:
        return full
    if rule == "percentile":
        ends = np.percentile(samples, [100 - KEPT, KEPT])
        return max(full[0], min(0.0, float(ends[0]))), min(full[1], max(0.0, float(ends[1])))
    best = min(SHARES, key=lambda share: _squared_error(samples, full[0] * share, full[1] * share))
    return full[0] * float(best), full[1] * float(best)


def _squared_error(samples: Samples, low: float, high: float) -> float:
    step = (high - low) / LEVELS
    rounded = np.rint(np.clip(samples, low, high) / step) * step
    return float(np.square(samples - rounded).mean())
