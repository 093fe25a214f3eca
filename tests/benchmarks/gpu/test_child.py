"""A step in a process of its own: real processes that end, fail, hang or die."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.child import Ending, run_child

SENDS = "import json, os, sys; send = lambda **m: os.write(int(sys.argv[1]), json.dumps(m).encode() + b'\\n'); "


def run(tmp_path: Path, program: str, seconds: float = 15) -> tuple[Ending, list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    ending = run_child(
        [sys.executable, "-c", SENDS + program],
        seconds=seconds,
        environment=os.environ,
        log=tmp_path / "logs" / "step.log",
        receive=found.append,
    )
    return ending, found


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_a_step_finds_arrives_line_by_line(tmp_path: Path) -> None:
    ending, found = run(
        tmp_path, "send(findings={'a': 1}); send(findings={'b': 2}); send(end='done')"
    )

    assert ending.status == "done"
    assert found == [{"a": 1}, {"b": 2}]


def test_findings_longer_than_a_pipe_holds_arrive_whole(tmp_path: Path) -> None:
    program = (
        "data = json.dumps({'findings': {'text': 'x' * 300_000}}).encode() + b'\\n'\n"
        "while data: data = data[os.write(int(sys.argv[1]), data):]\n"
        "send(end='done')"
    )
    ending, found = run(tmp_path, program)

    assert ending.status == "done"
    assert found == [{"text": "x" * 300_000}]


def test_a_step_that_hangs_is_killed_and_keeps_what_it_found(tmp_path: Path) -> None:
    ending, found = run(
        tmp_path, "send(findings={'pid': os.getpid()}); import signal; signal.pause()", seconds=1
    )

    assert ending.status == "killed"
    assert "within its 1 s" in ending.detail
    assert not is_alive(found[0]["pid"])


def test_a_step_that_ignores_every_signal_is_killed_too(tmp_path: Path) -> None:
    program = (
        "import signal; [signal.signal(s, signal.SIG_IGN) for s in (2, 15, 1)]\n"
        "send(findings={'pid': os.getpid()})\n"
        "while True: signal.pause()"
    )
    ending, found = run(tmp_path, program, seconds=1)

    assert ending.status == "killed"
    assert not is_alive(found[0]["pid"])


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "hangs"])
def test_what_a_step_started_ends_with_it(tmp_path: Path, *, ends: bool) -> None:
    program = (
        "import subprocess, signal\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "send(findings={'pid': one.pid})\n" + ("send(end='done')" if ends else "signal.pause()")
    )
    ending, found = run(tmp_path, program, seconds=15 if ends else 1)

    assert ending.status == ("done" if ends else "killed")
    until = time.monotonic() + 10
    while is_alive(found[0]["pid"]) and time.monotonic() < until:
        os.sched_yield()  # the kernel ends it; nobody is told when
    assert not is_alive(found[0]["pid"])


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    ending, _ = run(tmp_path, "send(end='failed', detail='DeviceError: no GPU')")

    assert (ending.status, ending.detail) == ("failed", "DeviceError: no GPU")


def test_a_step_that_crashes_is_named_by_its_signal_and_its_last_lines(tmp_path: Path) -> None:
    ending, found = run(
        tmp_path,
        "send(findings={'a': 1}); print('CUDA error 900', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)",
    )

    assert ending.status == "failed"
    assert "SIGSEGV" in ending.detail
    assert "CUDA error 900" in ending.detail
    assert found == [{"a": 1}]


def test_a_step_that_exits_in_silence_has_failed(tmp_path: Path) -> None:
    ending, _ = run(tmp_path, "sys.exit(0)")

    assert ending.status == "failed"
    assert "ended with 0" in ending.detail
