"""Where an export tells how far it is; the terminal draws it, tests and programs need not."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

T = TypeVar("T")


class Steps(Protocol):
    """Named steps, one after another, each from 0 to 1."""

    def begin(self, name: str) -> None: ...

    def advance(self, done: float, note: str = "") -> None: ...

    def warn(self, message: str) -> None: ...


class QuietSteps:
    """Steps that nobody watches; warnings are kept in `warnings`."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def begin(self, name: str) -> None:
        pass

    def advance(self, done: float, note: str = "") -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class TerminalSteps:
    """Steps as rich progress bars, one line each; a step is complete when the next begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, name: str) -> None:
        self.finish()
        self._task = self._progress.add_task(name, total=1.0, note="")

    def advance(self, done: float, note: str = "") -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done, note=note)

    def warn(self, message: str) -> None:
        self._progress.console.print(
            Text.assemble(("warning: ", "yellow"), message), soft_wrap=True
        )

    def finish(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=1.0)
            self._progress.stop_task(self._task)


def watched(
    items: Collection[T], steps: Steps, share: tuple[float, float], what: str
) -> Iterator[T]:
    """Yield the items and tell how many are done: `what` they are, and the step's share they fill."""
    begin, end = share
    for index, item in enumerate(items):
        yield item
        steps.advance(begin + (end - begin) * (index + 1) / len(items), f"{index + 1} {what}")


@contextmanager
def on_terminal(console: Console) -> Iterator[TerminalSteps]:
    """Draw steps on a console until the block ends."""
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:32}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        steps = TerminalSteps(progress)
        yield steps
        steps.finish()
