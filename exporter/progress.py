"""The progress of an export: steps with a name, a share that is done and a note; a terminal draws them as bars."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich import progress as bars
from rich.console import Console
from rich.text import Text

T = TypeVar("T")


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
