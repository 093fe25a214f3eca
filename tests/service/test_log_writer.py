"""The writer of log lines on a stream that counts its writes, and one that fails."""

import logging
import threading
from io import StringIO

import pytest

from service.log_writer import MOST_LINES, LogWriter


class Stream(StringIO):
    """Counts the writes, and says when one has been made."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.writes += 1
        size = super().write(text)
        self.written.set()
        return size


class FullDisk(Stream):
    """Fails once, as a full disk does."""

    def write(self, text: str) -> int:
        if not self.writes:
            self.writes += 1
            self.written.set()
            raise OSError(28, "No space left on device")
        return super().write(text)


def log(writer: LogWriter, message: str, name: str = "app.request", level: int = 20) -> None:
    writer.handle(logging.LogRecord(name, level, "", 0, message, (), None))


def test_lines_of_requests_wait_and_any_other_line_brings_them_along_in_order() -> None:
    stream = Stream()
    writer = LogWriter(stream, "app.request", seconds=3600)
    log(writer, "one")
    log(writer, "two")
    assert stream.getvalue() == ""
    log(writer, "ready", name="app")
    assert (stream.getvalue(), stream.writes) == ("one\ntwo\nready\n", 1)


@pytest.mark.parametrize(
    ("name", "level"), [("app.request", logging.WARNING), ("app", logging.DEBUG)]
)
def test_a_warning_and_a_line_of_another_logger_do_not_wait(name: str, level: int) -> None:
    stream = Stream()
    log(LogWriter(stream, "app.request", seconds=3600), "now", name, level)
    assert stream.getvalue() == "now\n"


def test_lines_are_written_a_moment_later() -> None:
    stream = Stream()
    writer = LogWriter(stream, "app.request", seconds=0)
    for message in ("first", "second"):
        stream.written.clear()
        log(writer, message)
        assert stream.written.wait(30)
    assert stream.getvalue() == "first\nsecond\n"


def test_no_more_lines_wait_than_are_allowed() -> None:
    stream = Stream()
    writer = LogWriter(stream, "app.request", seconds=3600)
    for number in range(MOST_LINES - 1):
        log(writer, str(number))
    assert stream.writes == 0
    log(writer, "last")
    assert stream.getvalue().splitlines() == [*map(str, range(MOST_LINES - 1)), "last"]
    assert stream.writes == 1


def test_a_stream_that_fails_once_gets_the_next_lines() -> None:
    stream = FullDisk()
    writer = LogWriter(stream, "app.request", seconds=0)
    log(writer, "lost")
    assert stream.written.wait(30)
    stream.written.clear()
    log(writer, "kept")
    assert stream.written.wait(30)
    assert stream.getvalue() == "kept\n"


def test_what_waits_is_written_when_it_is_flushed_and_closed() -> None:
    stream = Stream()
    writer = LogWriter(stream, "app.request", seconds=3600)
    log(writer, "one")
    writer.flush()
    assert stream.getvalue() == "one\n"
    closing = LogWriter(stream, "app.request", seconds=0)
    log(closing, "two")
    closing.close()
    assert stream.written.wait(30)
