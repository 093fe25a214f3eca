"""The progress of an export."""

from io import StringIO
from threading import Event
from threading import enumerate as enumerate_threads

import pytest
from rich.console import Console

from exporter.progress import (
    LineProgress,
    SilentProgress,
    shown_progress,
    terminal_progress,
    with_progress,
)


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


class Noticed(StringIO):
    """A stream that says when a text was written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self.seen = Event()

    def write(self, part: str) -> int:
        written = super().write(part)
        if self._text in self.getvalue():
            self.seen.set()
        return written


def test_without_a_terminal_a_slow_step_writes_lines() -> None:
    stream = Noticed("Capture: 0 s, batch 3")
    with shown_progress(Console(file=stream, width=100)) as progress:
        progress.begin("Read")
        assert stream.getvalue() == "Read …\n"

    lines = LineProgress(Console(file=stream, width=100), quiet_seconds=0.01)
    lines.begin("Capture")
    lines.advance(0.3, "batch 3")
    assert stream.seen.wait(10)
    lines.warn("no images of your own")
    lines.finish()

    assert "Capture …" in stream.getvalue()
    assert "warning: no images of your own" in stream.getvalue()


def test_after_the_end_nothing_is_written() -> None:
    stream = Noticed("Capture: ")
    lines = LineProgress(Console(file=stream), quiet_seconds=0.01)
    lines.begin("Capture")
    assert stream.seen.wait(10)
    lines.finish()
    written = stream.getvalue()
    threads = [one for one in enumerate_threads() if one.name == "progress"]

    assert threads == []
    assert stream.getvalue() == written
