"""How far a run is: a bar on a terminal, else a line from time to time."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

QUIET_SECONDS = 10.0
"""Without a terminal a line comes so often."""
RATE_SECONDS = 30.0
"""The rate is that of so much time."""


class Pace:
    """Counts images, and says at which rate they are done and how long the rest takes.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.done = 0
        self.failed = 0
        self.total: int | None = None
        """How many images there are about; None where that is not known."""
        self._clock = clock
        self.new = 0
        """How many images this run has done."""
        self._began = clock()
        self._counted = deque([(self._began, 0)])

    def advance(self, images: int, failed: int, *, done_before: int = 0) -> None:
        """Count images; `done_before` is how many of all were done by an earlier run."""
        self.new += images
        self.done = done_before + self.new
        self.failed += failed
        now = self._clock()
        self._counted.append((now, self.new))
        while len(self._counted) > 2 and now - self._counted[1][0] > RATE_SECONDS:
            self._counted.popleft()

    @property
    def per_second(self) -> float:
        """Images per second, in the last half minute."""
        (began, before), (now, after) = self._counted[0], self._counted[-1]
        return (after - before) / (now - began) if now > began else 0.0

    @property
    def overall(self) -> float:
        """Images per second since the beginning."""
        return self.new / max(1e-9, self._counted[-1][0] - self._began)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None where that is not known."""
        if self.total is None or not self.per_second:
            return None
        return max(0, self.total - self.done) / self.per_second

    def __str__(self) -> str:
        """All of it in one line, without the number of images, which a bar shows itself."""
        parts = [f"{self.per_second:.1f} images/s"]
        if (left := self.seconds_left) is not None:
            parts.append(f"{duration(left)} left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)


class Show(Protocol):
    """Shows a pace whenever it has changed, and notes beside it."""

    def update(self, pace: Pace) -> None: ...

    def note(self, text: str) -> None: ...


class Bar:
    """A bar on a terminal."""

    def __init__(self, drawn: Progress) -> None:
        self._drawn = drawn
        self._task = drawn.add_task("", total=None, pace="")

    def update(self, pace: Pace) -> None:
        self._drawn.update(self._task, completed=pace.done, total=pace.total, pace=str(pace))

    def note(self, text: str) -> None:
        self._drawn.console.print(escape(text), highlight=False)


class Lines:
    """A line every `QUIET_SECONDS`, for logs."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._shown = clock()

    def update(self, pace: Pace) -> None:
        if self._clock() - self._shown < QUIET_SECONDS:
            return
        self._shown = self._clock()
        of = "" if pace.total is None else f" of {pace.total}"
        self._write(f"{pace.done}{of} images, {pace}")

    def note(self, text: str) -> None:
        self._write(text)


@contextmanager
def shown() -> Iterator[Show]:
    """Give what shows the progress on stderr for the length of the block."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines(lambda text: print(text, file=sys.stderr, flush=True), time.perf_counter)  # noqa: T201
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Progress(*columns, console=console) as drawn:
        yield Bar(drawn)


def duration(seconds: float) -> str:
    """Return a time as people say it: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
