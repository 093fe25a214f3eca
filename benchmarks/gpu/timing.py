"""How long a run takes, over a second or a few runs."""

import time
from collections.abc import Callable

import numpy as np

FEWEST_TIMES, MOST_TIMES = 3, 31


def median_ms(run: Callable[[], object]) -> float:
    """Return the median milliseconds of a run, over a second or a few runs."""
    taken: list[float] = []
    while len(taken) < FEWEST_TIMES or (len(taken) < MOST_TIMES and sum(taken) < 1e3):
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1e3)
    return round(float(np.median(taken)), 3)
