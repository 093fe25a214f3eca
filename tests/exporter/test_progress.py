"""The progress of an export."""

from io import StringIO

import pytest
from rich.console import Console

from exporter.progress import SilentProgress, terminal_progress, with_progress


class Recorded(SilentProgress):
    """Keeps what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[float, str]] = []

    def advance(self, done: float, note: str = "") -> None:
        self.received.append((done, note))


def test_items_report_their_number_within_their_share_of_the_step() -> None:
    progress = Recorded()
    assert list(with_progress("ab", progress, (0.2, 0.6), "letters")) == ["a", "b"]
    assert [note for _, note in progress.received] == ["1 letters", "2 letters"]
    assert [done for done, _ in progress.received] == pytest.approx([0.4, 0.6])


def test_a_step_is_complete_when_the_next_begins() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with terminal_progress(console) as progress:
        progress.begin("Read")
        progress.advance(0.5, "half")
        progress.begin("Write")
        progress.warn("no images of your own")
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "✓" in shown
    assert "Write" in shown
    assert "warning: " in shown


def test_a_step_that_failed_is_not_complete() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)

    def fail() -> None:
        with terminal_progress(console) as progress:
            progress.begin("Read")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert isinstance(console.file, StringIO)
    assert "✓" not in console.file.getvalue()
