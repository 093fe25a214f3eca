"""The progress of an export: steps with a name, a share that is done and a note; a terminal draws them as bars."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from time import perf_counter
from typing import Protocol, TypeVar

from rich import progress as bars
from rich.console import Console
from rich.text import Text

T = TypeVar("T")

QUIET_SECONDS = 9.0
"""Without a terminal, a line is written at least this often: the capture of a large network takes a minute."""


class Progress(Protocol):
    """Receives the steps of an export, one after another, each from 0 to 1."""

    def begin(self, name: str) -> None:
        """Begin a step; the one before is complete."""

    def advance(self, done: float, note: str = "") -> None:
        """Set the share of the step that is done, 0–1, and a short note."""

    def warn(self, message: str) -> None:
        """Show a warning."""


class SilentProgress:
    """Shows nothing; keeps the warnings in `warnings`."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def begin(self, name: str) -> None:
        pass

    def advance(self, done: float, note: str = "") -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class TerminalProgress:
    """Draws each step as a bar of its own; a step is complete when the next begins."""

    def __init__(self, drawn: bars.Progress) -> None:
        self._drawn = drawn
        self._task: bars.TaskID | None = None

    def begin(self, name: str) -> None:
        self.finish()
        self._task = self._drawn.add_task(name, total=1.0, note="")

    def advance(self, done: float, note: str = "") -> None:
        if self._task is not None:
            self._drawn.update(self._task, completed=done, note=note)

    def warn(self, message: str) -> None:
        self._drawn.console.print(Text.assemble(("warning: ", "yellow"), message), soft_wrap=True)

    def finish(self) -> None:
        """Complete the last step."""
        if self._task is not None:
            self._drawn.update(self._task, completed=1.0)
            self._drawn.stop_task(self._task)


class LineProgress:
    """Writes a line for each step, and one when nothing else was written for a while; for logs without a terminal."""

    def __init__(self, console: Console, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._console = console
        self._quiet_seconds = quiet_seconds
        self._changed = Condition()
        self._name = self._note = ""
        self._begun = self._written = 0.0
        self._writer: Thread | None = None

    def begin(self, name: str) -> None:
        with self._changed:
            self._name, self._note, self._begun = name, "", perf_counter()
            self._write(f"{name} …")
            self._changed.notify()
        if self._writer is None:
            self._writer = Thread(target=self._repeat, name="progress", daemon=True)
            self._writer.start()

    def advance(self, done: float, note: str = "") -> None:  # noqa: ARG002 - a line has no bar
        with self._changed:
            self._note = note

    def warn(self, message: str) -> None:
        with self._changed:
            self._write(f"warning: {message}")

    def finish(self) -> None:
        """Stop writing."""
        with self._changed:
            self._name = ""
            self._changed.notify()
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _repeat(self) -> None:
        with self._changed:
            while self._name:
                left = self._written + self._quiet_seconds - perf_counter()
                if left > 0:
                    self._changed.wait(left)
                    continue
                note = f", {self._note}" if self._note else ""
                self._write(f"{self._name}: {perf_counter() - self._begun:.0f} s{note}")

    def _write(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)
        self._written = perf_counter()


def with_progress(
    items: Collection[T], progress: Progress, share: tuple[float, float], unit: str
) -> Iterator[T]:
    """Yield the items and report how many are done.

    Args:
        items: what is worked on.
        progress: receives a report after each item.
        share: where the items begin and end within the step, 0–1 each.
        unit: what is counted, in the plural, for the note.
    """
    begin, end = share
    for index, item in enumerate(items):
        yield item
        progress.advance(begin + (end - begin) * (index + 1) / len(items), f"{index + 1} {unit}")


@contextmanager
def shown_progress(console: Console) -> Iterator[TerminalProgress | LineProgress]:
    """Show the progress until the block ends: bars on a terminal, else lines."""
    if console.is_terminal:
        with terminal_progress(console) as bars_drawn:
            yield bars_drawn
        return
    lines = LineProgress(console)
    try:
        yield lines
    finally:
        lines.finish()


@contextmanager
def terminal_progress(console: Console) -> Iterator[TerminalProgress]:
    """Draw the progress on a console until the block ends; the last step is complete only without an error."""
    columns = (
        bars.SpinnerColumn(finished_text="[green]✓[/]"),
        bars.TextColumn("{task.description:32}"),
        bars.BarColumn(bar_width=24),
        bars.TimeElapsedColumn(),
        bars.TextColumn("{task.fields[note]}"),
    )
    with bars.Progress(*columns, console=console) as drawn:
        progress = TerminalProgress(drawn)
        yield progress
        progress.finish()
