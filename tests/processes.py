"""What /proc says of other processes."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in found for child in file.read_text().split()]


def has_ended(pid: int) -> bool:
    """Return whether there is no such process, or nothing of it but its exit code."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def open_files(pid: int) -> list[str]:
    """Return what the file descriptors of a process lead to."""
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed in between
            found.append(str(file.readlink()))
    return found


def most_files(pid: int) -> int:
    """Return how many file descriptors a process may have."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max open files")
    )
    return int(line.split()[4])
