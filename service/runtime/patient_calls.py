"""Calls beside the traffic that end in any case: at a low priority first, then at that of all."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from service.errors import ServableError
from service.runtime.first_runs import first_runs
from service.runtime.job import Stoppable
from service.runtime.low_priority import Calling

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
"""How long runs beside the traffic may leave the processor to it; then they get their share."""


def patient_calling(
    path: Path,
    runs: Sequence[Stoppable],
    at_low_priority: Calling,
    seconds: float = PATIENCE_SECONDS,
) -> Calling:
    """Return what makes calls at a low priority; one that does not end in time is made again at that of all.

    Args:
        path: the servable, for messages.
        runs: what the calls may run; may grow.
        at_low_priority: makes calls so.
        seconds: how long a call may take.
    """

    def make(call: Callable[[], T], /) -> T:
        def work() -> T:
            with first_runs(path, runs, seconds):
                return call()

        began = time.perf_counter()
        try:
            return at_low_priority(work)
        except ServableError:
            if time.perf_counter() - began < seconds:
                raise
            return call()

    return make
