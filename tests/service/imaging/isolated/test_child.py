"""A decoder process as the service sees it: real processes, which do what each request says."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.imaging.isolated.child import DecoderProcess, EndedError
from service.imaging.isolated.messages import Kind, Reply, Request
from tests import puppet
from tests.service.api.clock import Clock

PROGRAM = "tests.puppet"
LONG = 60.0


class Started:
    """Starts processes that are ended with the test."""

    def __init__(self) -> None:
        self.processes: list[DecoderProcess] = []

    def __call__(
        self,
        program: str = PROGRAM,
        mode: int = puppet.READY,
        clock: Callable[[], float] = time.perf_counter,
        end_seconds: float = LONG,
    ) -> DecoderProcess:
        process = DecoderProcess(program, mode, clock, end_seconds)
        self.processes.append(process)
        return process


@pytest.fixture
def start() -> Iterator[Started]:
    started = Started()
    yield started
    for process in started.processes:
        process.kill()


def until() -> float:
    return time.perf_counter() + LONG


def ordered(process: DecoderProcess, order: str, **fields: Any) -> None:
    request = {"kind": Kind.IMAGE, "target": b"", "granted": 0, "limits": b"[]", "seconds": 1.5}
    process.send(Request(body=order.encode(), **{**request, **fields}), until())


def answered(process: DecoderProcess, order: str, **fields: Any) -> Any:
    ordered(process, order, **fields)
    kind, size, second = process.reply(until())
    assert (kind, second) == (Reply.REFUSED, 0)
    text = bytearray(size)
    process.receive(memoryview(text), until())
    return json.loads(text)


def test_a_process_says_that_it_is_ready_and_takes_requests(start: Started) -> None:
    process = start()
    process.wait_until_ready()
    fields = {"kind": Kind.FRAME, "granted": 2**40, "limits": b"the limits", "target": b"a target"}
    for seconds in (1.5, 2.5):
        found = answered(process, "echo", seconds=seconds, **fields)
        assert found == [1, 2**40, seconds, "the limits", "a target"]
    assert not process.ended


def test_a_process_sees_nothing_of_this_one(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_SSL_KEYFILE_PASSWORD", "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    process = start()
    process.wait_until_ready()
    environment, arguments, parent, session = answered(process, "self")
    assert "secret" not in str(environment)
    assert "PATH" not in environment
    assert environment["LANG"] == "C.UTF-8"
    assert environment["OPENBLAS_NUM_THREADS"] == environment["MALLOC_ARENA_MAX"] == "1"
    assert environment["PYTHONWARNINGS"] == "ignore"
    assert "" not in environment["PYTHONPATH"].split(os.pathsep), "no current folder"
    assert arguments == [str(puppet.READY), str(os.getpid())]
    assert parent == os.getpid()
    assert session == process.pid, "signals of a terminal do not reach it"
    files = Path(f"/proc/{process.pid}/fd")
    if files.is_dir():
        assert {file.name for file in files.iterdir()} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("order", "code"), [("exit 0", 0), ("exit 77", 77), ("signal 9", -9), ("signal 11", -11)]
)
def test_a_process_that_ends_instead_of_replying_has_its_code(
    start: Started, order: str, code: int
) -> None:
    process = start()
    process.wait_until_ready()
    ordered(process, order)
    with pytest.raises(EndedError) as caught:
        process.reply(until())
    assert caught.value.code == code
    assert str(code) in str(caught.value)
    assert process.ended


def test_a_process_that_ends_within_a_reply_has_ended(start: Started) -> None:
    process = start()
    process.wait_until_ready()
    ordered(process, "half")
    with pytest.raises(EndedError) as caught:
        process.reply(until())
    assert caught.value.code == 0


def test_a_request_to_a_process_that_was_killed_names_its_signal(start: Started) -> None:
    process = start()
    process.wait_until_ready()
    os.kill(process.pid, signal.SIGTERM)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.ended
    with pytest.raises(EndedError) as caught:
        ordered(process, "x" * 10_000_000)
    assert caught.value.code == -signal.SIGTERM


# What signal(7) lists as made by the process itself: not those that are sent to it.
@pytest.mark.parametrize(
    "number", ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS"]
)
def test_a_signal_of_its_own_code_is_a_crash(number: str) -> None:
    assert EndedError(-signal.Signals[number]).is_crash
    assert not EndedError(signal.Signals[number]).is_crash, "an exit code"


@pytest.mark.parametrize("code", [0, 1, 77, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGXCPU])
def test_an_exit_or_a_signal_from_outside_is_no_crash(code: int) -> None:
    assert not EndedError(code).is_crash


def test_pieces_of_a_reply_are_put_together(start: Started) -> None:
    process = start()
    process.wait_until_ready()
    ordered(process, "slowly " + "abc" * 100)
    found = bytearray(300)
    process.receive(memoryview(found), until())
    assert found == b"abc" * 100
    process.receive(memoryview(b""), 0)


def test_a_deadline_that_has_passed_ends_the_waiting_and_not_the_process(start: Started) -> None:
    clock = Clock(50)
    process = start(clock=clock)
    process.wait_until_ready()
    for moment in (50, 49.9):
        with pytest.raises(TimeoutError):
            process.reply(moment)
        with pytest.raises(TimeoutError):
            process.send(Request(Kind.IMAGE, b"", b"", 0, b""), moment)
    assert not process.ended
    assert answered_by(process, clock.now + LONG)[0] == Kind.IMAGE


def answered_by(process: DecoderProcess, moment: float) -> Any:
    process.send(Request(Kind.IMAGE, b"echo", b"", 0, b""), moment)
    _, size, _ = process.reply(moment)
    text = bytearray(size)
    process.receive(memoryview(text), moment)
    return json.loads(text)


def test_a_reply_that_does_not_come_is_waited_for_until_the_deadline(start: Started) -> None:
    clock = Clock(50)
    process = start(clock=clock)
    process.wait_until_ready()
    with pytest.raises(TimeoutError):  # a real wait: nothing comes
        process.reply(50.05)
    assert not process.ended


def test_a_process_that_reads_nothing_is_written_to_until_the_deadline(start: Started) -> None:
    clock = Clock(50)
    process = start(mode=puppet.READY, clock=clock)
    process.wait_until_ready()
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):  # a real wait: a socket holds less than this
        process.send(Request(Kind.IMAGE, bytes(20_000_000), b"", 0, b""), 50.2)
    os.kill(process.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("program", "mode", "code"),
    [("this", 0, 0), ("no_such_module", 0, 1), (PROGRAM, puppet.WRONG, 0)],
)
def test_a_process_that_does_not_begin_with_its_word_has_not_started(
    start: Started, program: str, mode: int, code: int
) -> None:
    with pytest.raises(EndedError) as caught:
        start(program, mode).wait_until_ready()
    assert caught.value.code == code


def test_ending_a_process_lets_it_end_by_itself(start: Started) -> None:
    process = start(mode=puppet.MUTE)
    assert process.end() == 5, "it saw that its socket was closed"
    assert process.ended


def test_a_process_that_does_not_end_by_itself_is_killed(start: Started) -> None:
    process = start(end_seconds=0.2)
    process.wait_until_ready()
    ordered(process, "deaf")
    assert process.end() == -signal.SIGKILL


def test_a_killed_process_is_gone_when_the_call_returns(start: Started) -> None:
    process = start()
    process.wait_until_ready()
    assert not process.ended
    process.kill()
    assert process.ended
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.kill()


def test_output_of_a_process_goes_nowhere(
    start: Started, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EndedError):
        start("this").wait_until_ready()
    assert capfd.readouterr().out == ""
