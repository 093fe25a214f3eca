"""How far two answers lie apart, for every task."""

import numpy as np

from exporter.network import Array


def relative_difference(found: Array, expected: Array) -> float:
    """Return the largest difference, as a share of the largest expected value where that is above 1.

    Untrained and unnormalised networks answer in the thousands; float32 promises digits, not decimals. An answer that
    is no number differs infinitely.
    """
    if not expected.size:
        return 0.0
    scale = max(1.0, float(np.abs(expected).max()))
    largest = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    return largest if np.isfinite(largest) else float("inf")
