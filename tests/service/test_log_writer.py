"""The writer of log lines on a stream that counts its writes, on one that fails, and on pipes that nobody reads."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from typing import TextIO

import pytest

from service.log_writer import MANY_LINES, MOST_CHARACTERS, LogWriter


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
    assert stream.written.wait(30)
    assert (stream.getvalue(), stream.writes) == ("one\ntwo\nready\n", 1)


@pytest.mark.parametrize(
    ("name", "level"), [("app.request", logging.WARNING), ("app", logging.DEBUG)]
)
def test_a_warning_and_a_line_of_another_logger_do_not_wait(name: str, level: int) -> None:
    stream = Stream()
    log(LogWriter(stream, "app.request", seconds=3600), "now", name, level)
    assert stream.written.wait(30)
    assert stream.getvalue() == "now\n"


def test_lines_are_written_a_moment_later() -> None:
    stream = Stream()
    writer = LogWriter(stream, "app.request", seconds=0)
    for message in ("first", "second"):
        stream.written.clear()
        log(writer, message)
        assert stream.written.wait(30)
    assert stream.getvalue() == "first\nsecond\n"


def test_many_lines_of_requests_wait_for_no_others() -> None:
    stream = Stream()
    writer = LogWriter(stream, "app.request", seconds=3600)
    for number in range(MANY_LINES - 1):
        log(writer, str(number))
    assert stream.writes == 0
    log(writer, "last")
    assert stream.written.wait(30)
    assert stream.getvalue().splitlines() == [*map(str, range(MANY_LINES - 1)), "last"]
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


def test_its_lock_can_be_held_by_several_at_once_in_every_way_that_logging_holds_it() -> None:
    writer = LogWriter(Stream(), "app.request")
    assert writer.lock is not None
    with writer.lock:  # as Python 3.13 does, and later ones; earlier ones acquire and release it
        writer.acquire()
        others = threading.Thread(target=log, args=(writer, "meanwhile"))
        others.start()
        others.join(30)
        assert not others.is_alive()
        writer.release()
    writer.close()


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


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """A pipe: the end that is read, and the one that is written."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        yield reader, stream


def test_who_logs_does_not_wait_for_a_pipe_that_nobody_reads(pipe: tuple[TextIO, TextIO]) -> None:
    reader, stream = pipe
    writer = LogWriter(stream, "app.request", seconds=0, flush_seconds=0.01)
    # More than the pipe holds, than one write holds, and than may wait: a writer that waits for its stream stays here.
    numbers = range(3 * MOST_CHARACTERS // 1000)
    for number in numbers:
        log(writer, f"{number:01000d}", level=logging.WARNING)
    writer.flush()
    writer.close()
    read = []
    for line in reader:
        read.append(line)
        if line.startswith("log lines that were lost"):
            break

    *kept, loss = read
    assert [int(line) for line in kept] == list(numbers[: len(kept)])
    assert MOST_CHARACTERS // 1000 <= len(kept) < len(numbers)
    assert int(loss.rpartition(" ")[2]) == len(numbers) - len(kept)
    stream.close()


def test_a_pipe_that_is_read_late_gets_every_line_once_and_in_order(
    pipe: tuple[TextIO, TextIO],
) -> None:
    reader, stream = pipe
    writer = LogWriter(stream, "app.request", seconds=0)
    numbers = range(1000)
    for number in numbers:
        level = logging.WARNING if number % 7 == 0 else logging.INFO
        log(writer, f"{number:0200d}", level=level)

    assert [int(next(reader)) for _ in numbers] == list(numbers)
    writer.flush()
    stream.close()
    assert reader.read() == ""


ENDS = """
import logging, sys
from service.logs import configure_logs

configure_logs("info", "json", sys.stdout)
for number in range(int(sys.argv[1])):
    logging.getLogger("foveal.request").info("%0100d", number)
"""


def ending(lines: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", ENDS, str(lines)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_process_writes_all_lines_before_it_ends() -> None:
    with ending(9000) as process:
        output, errors = process.communicate(timeout=15)
    assert (len(output.splitlines()), errors, process.returncode) == (9000, b"", 0)


def test_a_process_ends_though_nobody_reads_its_log() -> None:
    with ending(9000) as process:
        assert process.wait(timeout=15) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
