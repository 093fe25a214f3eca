"""What processes have used, as /proc states it: CPU time, also of their event loops' threads, and memory."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from service.runtime.host import granted_threads

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds until now: of this process, of the service and its event loops' threads, of the whole machine."""

    own: float
    service: float | None
    loop: float | None
    machine: float | None

    @classmethod
    def of(cls, family: list[int]) -> "Usage":
        return cls(
            time.process_time(),
            _seconds([PROC / str(pid) / "stat" for pid in family]),
            _seconds([PROC / str(pid) / "task" / str(pid) / "stat" for pid in family]),
            _machine_seconds(),
        )


def family_of(process: int) -> list[int]:
    """Return a process and its children, which are the workers of a service with several."""
    try:
        text = (PROC / str(process) / "task" / str(process) / "children").read_text()
    except OSError:
        text = ""
    return [process, *map(int, text.split())]


def _seconds(files: list[Path]) -> float | None:
    found = [_thread_seconds(file) for file in files]
    return None if None in found else sum(one for one in found if one is not None)


def _thread_seconds(file: Path) -> float | None:
    """Return user and system time; None where the system has no such file."""
    try:
        fields = file.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _machine_seconds() -> float | None:
    """Return the CPU time of all programs; None where this process may use a part of the machine only."""
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    cores = sum(line.startswith("cpu") for line in lines) - 1
    if cores != granted_threads():
        return None
    user, nice, system, _, _, irq, soft = map(int, lines[0].split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def foreign_cores(before: Usage, after: Usage, seconds: float) -> float | None:
    if before.machine is None or after.machine is None:
        return None
    if before.service is None or after.service is None:
        return None
    known = after.own - before.own + after.service - before.service
    return max(0.0, (after.machine - before.machine - known) / seconds)


def peak_bytes(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
