"""How a network runs best on a CPU: measured once, and applied to networks that are built alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from service.runtime.device import Device, SessionPlan, plan_session
from service.runtime.job import Run, Tensor
from service.runtime.loaded import Loaded
from service.runtime.low_priority import Calling, at_once
from service.runtime.repository import Servable
from service.runtime.session import Session
from service.runtime.tuning import (
    FEW_THREADS,
    FOR_REQUESTS,
    HEAVY_SECONDS,
    BatchSearch,
    Clock,
    best_batch,
    seconds_of,
    serves_all_at_once,
    thread_clock,
)

WORTH_SPREADING_SECONDS = 0.002
"""Where one image takes less than this on one thread, waking more threads costs more than they save."""
HEAVY_MACS = 16_000_000_000
"""A network of so many multiply-accumulates in float32 per image is heavy (`HEAVY_SECONDS`): that takes 160 billion a
second, more than a core of a usual processor sustains. A faster one would only run one batch at a time."""
WORTH_A_SESSION = 0.8
"""A second session must reduce the time of a single image to this share, else it is not kept."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How a network runs best on a CPU, as it was measured.

    Attributes:
        limit: images in a batch at most.
        together: whether each batch runs on all cores.
        wide: whether a single image does.
        spin: whether the threads of such a run wait actively.
    """

    limit: int
    together: bool
    wide: bool
    spin: bool

    @classmethod
    def of(cls, loaded: Loaded) -> "RunPlan":
        """Return the choice that a measurement has come to."""
        together = loaded.cores > 1
        run = loaded.runs[0] if together else loaded.wide
        spin = (
            isinstance(run, Session)
            and run.plan.entries.get("session.intra_op.allow_spinning") == "1"
        )
        return cls(loaded.largest, together, loaded.wide is not None, spin)

    def applied(
        self,
        narrow: Run,
        open_wide: Callable[[SessionPlan], Run],
        blank: Tensor,
        *,
        instances: int,
        threads: int,
    ) -> Loaded:
        """Return a network that runs so; see `choose_runs` for the arguments.

        A run on all cores that serves every image is not warmed here: it would take them all, and so does the health
        check that follows.
        """
        if self.together:
            wide = open_wide(self.wide_plan(threads))
            return self.on_all_cores(wide, blank, instances=instances, threads=threads)
        if not self.wide:
            return Loaded((narrow,) * (instances or threads), self.limit, blank)
        wide = open_wide(self.wide_plan(threads))
        wide(blank[None])
        return Loaded((narrow,) * (instances or threads), self.limit, blank, wide)

    def wide_plan(self, threads: int) -> SessionPlan:
        """Return how the session on all cores is opened."""
        return _wide_plan(threads, spin=self.spin)

    def on_all_cores(self, wide: Run, blank: Tensor, *, instances: int, threads: int) -> Loaded:
        """Return a network of which each batch runs on all cores."""
        return Loaded((wide,) * (instances or 1), self.limit, blank, cores=threads)


def plan_of_heavy(servable: Servable, *, limit: int, largest: int, threads: int) -> RunPlan | None:
    """Return how a network runs whose card says that it is heavy; None where that must be measured.

    A heavy network on a few threads runs one batch at a time in any case, so timing it, which takes longest of all,
    would decide nothing. See `choose_runs` for the arguments.
    """
    card = servable.card
    surely = card.precision == "fp32" and card.cost.macs >= HEAVY_MACS
    if not (surely and 1 < threads <= FEW_THREADS):
        return None
    return RunPlan(limit if largest else 1, together=True, wide=False, spin=False)


def build_of(servable: Servable) -> object:
    """Return what two networks have in common only where they are built alike and so take the same time."""
    card = servable.card
    return (
        servable.name,
        card.task,
        card.input,
        card.window,
        card.precision,
        card.max_batch,
        card.cost,
        len(card.labels),
    )


def choose_runs(
    narrow: Run,
    open_wide: Callable[[SessionPlan], Run],
    blank: Tensor,
    *,
    limit: int,
    largest: int,
    instances: int,
    threads: int,
    clock: Clock = time.perf_counter,
    narrow_clock: Clock = thread_clock,
    calling: Calling = at_once,
    search: BatchSearch = FOR_REQUESTS,
) -> Loaded:
    """Measure how a CPU serves the network best; docs/decisions/0005 says why.

    By default a run uses one thread, and as many run at once as there are threads. Where one run on all threads is
    about as fast as a run on each thread, all batches run on all threads: that needs the memory of one run, and each
    answer comes sooner.

    Args:
        narrow: runs a batch on one thread.
        open_wide: makes a run that uses all threads.
        blank: one input without the batch axis.
        limit: images in a batch at most.
        largest: the same where the settings give it; 0 where it is measured.
        instances: batches that may run at once; 0 where it is chosen here.
        threads: how many threads may run at once.
        clock: returns seconds.
        narrow_clock: returns seconds of the calling thread on a core, which waiting for one does not make more.
        calling: makes the calls that run on one thread.
        search: how the largest batch is searched.
    """

    def measure() -> tuple[float, int]:
        patience = search.patience_seconds
        alone = seconds_of(narrow, blank[None], narrow_clock, patience_seconds=patience)
        if largest:
            return alone, limit
        return alone, best_batch(
            narrow, blank, limit, alone=alone, clock=narrow_clock, search=search
        )

    alone, limit = calling(measure)
    if threads == 1 or alone < WORTH_SPREADING_SECONDS:
        return Loaded((narrow,) * (instances or threads), limit, blank)
    # Wide runs of a heavy network may run beside others.
    is_heavy = alone > HEAVY_SECONDS
    wide = open_wide(_wide_plan(threads, spin=not is_heavy))
    decided = is_heavy and threads <= FEW_THREADS  # then no run needs to take all cores
    spread = 0.0 if decided else seconds_of(wide, blank[None], clock)
    if serves_all_at_once(alone=alone, spread=spread, threads=threads):
        return Loaded((wide,) * (instances or 1), limit, blank, cores=threads)
    if not is_heavy:
        alone = seconds_of(narrow, blank[None], clock)  # what else runs delays both
    return Loaded(
        (narrow,) * (instances or threads),
        limit,
        blank,
        wide if spread < WORTH_A_SESSION * alone else None,
    )


def _wide_plan(threads: int, *, spin: bool) -> SessionPlan:
    """Return how a run on all cores is opened; that of a heavy network does not spin.

    A heavy network makes its buffers one by one. In one piece, which the second run makes, they come beside those of
    the first run, which the arena keeps: U²-Net-p took 571 MiB in place of 322, in the same time.
    """
    plan = plan_session(Device("cpu"), largest=1, threads=threads, cache=Path(), spin=spin)
    return plan if spin else replace(plan, memory_pattern=False)
