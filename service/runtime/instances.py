"""The runs of one network: which are free, which are out with a batch that does not end, and whether any is left."""

import math
from collections.abc import Callable, Sequence

from service.runtime.job import PinnedInput, Run, Stoppable
from service.runtime.stuck_runs import StuckRuns
from service.runtime.turns import Turn

STUCK_SECONDS = 10.0
STUCK_TIMES = 20
"""A run is given up when it takes so many times what is usual, and no less than `STUCK_SECONDS`."""
FIRST_RUN_SECONDS = 60.0
"""The same before anything was measured: on some devices the first run still compiles."""
OVERDUE_SHARE = 0.1
"""A run that takes `STUCK_TIMES` what is usual is likely to be stuck after this share of `STUCK_SECONDS` already. Then
another thread takes the place of its own."""
STEP_SECONDS = 60.0
"""How long the preparation of one image, or one head, may take before its thread is given up."""
MOST_STUCK = 2
"""So many runs of a model may be stuck at the same time; then it runs no more. Each of them keeps a core busy."""


class Instances:
    """As many runs of a network as may happen at once. All methods are called with the workers' condition held.

    A run that is given up does not come back in time, if ever. One with memory of its own is not replaced.

    Args:
        runs: one callable for each; the same one may be listed several times.
        wide: runs a single image on all cores; None: `runs` do that too.
        stuck_seconds: a run is given up after so long, and after `STUCK_TIMES` times what is usual, whichever is later.
        first_run_seconds: the same before it is known what is usual.
        stuck: the model's runs that did not end; None: nobody else runs it.
        is_short: returns whether one stuck run is too many already.

    Attributes:
        broken: why the network runs no more; empty where it does.
        count: how many batches may run at once.
        pinned: whether some of the runs offer memory for their input.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        wide: Run | None,
        stuck_seconds: float,
        first_run_seconds: float = FIRST_RUN_SECONDS,
        stuck: StuckRuns | None = None,
        is_short: Callable[[], bool] = lambda: False,
    ) -> None:
        self.broken = ""
        self.count = len(runs)
        self.pinned = any(map(is_bound, runs))  # here, since it takes 10 µs
        self._free = list(runs)
        self._wide = wide
        self._stuck_seconds = stuck_seconds
        self._first_run_seconds = first_run_seconds
        self._stuck = stuck or StuckRuns()
        self._is_short = is_short
        self._one_at_a_time = self._device_gone = self._closed = False

    @property
    def any_free(self) -> bool:
        """Whether a batch may begin now."""
        return bool(self._free) and not self.broken and not (self._one_at_a_time and self.running)

    @property
    def running(self) -> bool:
        """Whether a batch runs, or is prepared."""
        return len(self._free) < self.count

    def take(self, turn: Turn, *, lone: bool) -> Run:
        """Return what runs a batch; `lone`: it is a single image, and nothing else runs."""
        turn.instance = self._free.pop()
        run: Run = self._wide if lone and self._wide is not None else turn.instance
        return run

    def put_back(self, turn: Turn) -> None:
        """Let others have the run of a batch that has ended."""
        if not self._closed:
            self._free.append(turn.instance)

    def close(self) -> None:
        """Let go of all runs: reference cycles would keep the network until the collector runs, if it does."""
        self._closed = True
        self._free.clear()
        self._wide = None

    def limit_seconds(self, turn: Turn, pace: float | None) -> float:
        """Return how long a batch may be without progress.

        Args:
            turn: its.
            pace: seconds of an image in the network; None: not known.
        """
        if not turn.running:
            return STEP_SECONDS
        if pace is None:
            return max(self._first_run_seconds, self._stuck_seconds)
        return max(self._stuck_seconds, STUCK_TIMES * pace * turn.running)

    def overdue_seconds(self, turn: Turn, pace: float | None) -> float:
        """Return after how long without progress a batch is likely to be stuck; infinite where nothing says so."""
        if not turn.running:
            return math.inf
        if pace is None:
            return max(OVERDUE_SHARE * self._stuck_seconds, self._first_run_seconds)
        return max(OVERDUE_SHARE * self._stuck_seconds, STUCK_TIMES * pace * turn.running)

    def give_up(self, turn: Turn, thread: int, now: float) -> None:
        """Stop to count on the run of a batch, and stop it where that is possible.

        Args:
            turn: the batch's.
            thread: the `threading.get_ident` of the one that runs it.
            now: the time of the workers' clock, in seconds.
        """
        instance: Run = turn.instance
        if turn.ended:  # only its answers are late
            return
        if not turn.running:  # the image is stuck before the network
            self._free.append(instance)
            return
        self._stuck.out.add(turn)
        for run in (instance, self._wide):
            if isinstance(run, Stoppable):
                run.stop(thread)
        if is_bound(instance):
            self.count -= 1
        else:
            self._free.append(instance)
        self.look(now)

    def back_off(self, now: float, limit_seconds: float) -> None:
        """Let the network rest where runs of it were given up at this time and shortly before; see `BackOff`."""
        self._stuck.back_off.note_stuck(now, limit_seconds)
        self.look(now)

    def look(self, now: float) -> None:
        """Say at this time of the workers' clock whether the network runs, and how many batches at once."""
        if self._device_gone:
            return
        self._one_at_a_time = self._stuck.back_off.is_cautious(now)
        self.broken = self._fault(now)

    def _fault(self, now: float) -> str:
        if self.rest_seconds(now):
            return f"had runs that did not end, and is not run again for {self._stuck.back_off.seconds:.0f} s"
        if len(self._stuck.out) >= (1 if self._is_short() else MOST_STUCK) or not self.count:
            return "has runs that do not end and keep their threads busy; restart the service to serve it again"
        return ""

    def rest_seconds(self, now: float) -> float:
        """Return for how long the network is not run yet, because its runs did not end; 0 where it is run."""
        return self._stuck.back_off.left_seconds(now)

    def come_back(self, turn: Turn, now: float) -> str:
        """Count again on what was given up: its thread has come back after all.

        Return why the network did not run until now; empty where it did, or still does not. Another reason, of which
        nobody was told yet, is left to `look`.
        """
        if turn not in self._stuck.out:
            return ""
        self._stuck.out.remove(turn)
        if self._device_gone:
            return ""
        if is_bound(turn.instance) and not self._closed:
            self.count += 1
            self._free.append(turn.instance)
        reason = self.broken
        if not reason or self._fault(now):
            return ""
        self.look(now)
        return reason

    def is_out(self, turn: Turn) -> bool:
        """Return whether the run of a batch that was given up has not come back yet."""
        return turn in self._stuck.out

    def lose_device(self, reason: str) -> None:
        """Run nothing more: the process can not use its GPU."""
        self._device_gone = True
        self.broken = f"ran on a GPU that failed ({reason})"


def is_bound(run: Run) -> bool:
    """Return whether a run has memory of its own, so that no second thread can use it."""
    return isinstance(run, PinnedInput)
