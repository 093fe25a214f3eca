"""One step in a process of its own: what it finds is read line by line, and it is killed when its time is over."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Receive = Callable[[dict[str, Any]], None]
FINDINGS, END, DETAIL = "findings", "end", "detail"
"""The keys of a line: what was found, or how the step ended and why."""
LAST_LINES = 6
LONGEST_DETAIL = 800
_REAP_SECONDS = 3.0
"""A process that hangs in the driver may not even end when it is killed; it is then left behind."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a step ended. `killed`: its time was over; `failed`: an error, or its process crashed."""

    status: Literal["done", "failed", "killed", "skipped"]
    seconds: float = 0.0
    detail: str = ""


class _Lines:
    """The lines that a child has sent so far."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rest = b""
        self.end: dict[str, Any] = {}

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if END in message:
                self.end = message
            else:
                self._receive(message[FINDINGS])


def run_child(
    command: Sequence[str],
    *,
    seconds: float,
    environment: Mapping[str, str],
    log: Path,
    receive: Receive,
) -> Ending:
    """Run a command until it ends or its time is over; then end it with all processes of its group.

    Args:
        command: gets one more argument, the number of the file descriptor that it writes its lines to.
        seconds: how long it may take.
        environment: its environment.
        log: gets its standard output and error.
        receive: gets what it finds, as it comes.
    """
    began = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(writing)],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    lines = _Lines(receive)
    try:
        in_time = _follow(process.pid, reading, lines, began + seconds)
    finally:
        os.close(reading)
        code = _end(process)
    taken = time.monotonic() - began
    if not in_time:
        return Ending("killed", taken, f"It did not end within its {seconds:.0f} s.")
    if lines.end.get(END) == "done":
        return Ending("done", taken)
    said = lines.end.get(DETAIL) or f"Its process {_ending(code)}. {_end_of(log)}"
    return Ending("failed", taken, str(said)[:LONGEST_DETAIL])


def _follow(pid: int, reading: int, lines: _Lines, until: float) -> bool:
    """Read what the child sends until its process ends; return whether that was before `until`."""
    os.set_blocking(reading, False)
    over = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(reading, selectors.EVENT_READ)
            selector.register(over, selectors.EVENT_READ)
            while True:
                left = until - time.monotonic()
                ready = {key.fd for key, _ in selector.select(max(0.0, left))} if left > 0 else None
                if ready is None or not ready:
                    return False
                if not _drain(reading, lines) and reading in selector.get_map():
                    selector.unregister(reading)  # it was closed; the process may live on
                if over in ready:
                    return True
    finally:
        os.close(over)


def _drain(reading: int, lines: _Lines) -> bool:
    """Take what can be read now; return whether more may come."""
    while True:
        try:
            data = os.read(reading, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        lines.take(data)


def _end(process: "subprocess.Popen[bytes]") -> int | None:
    """Kill what is left of the child's group, and return its exit code; None where it can not be reaped."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.wait(_REAP_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _ending(code: int | None) -> str:
    if code is None:
        return "can not be killed"
    return f"ended with {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _end_of(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:])
