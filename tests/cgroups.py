"""A control group with a limit of memory, as containers have; only where a test may make one."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Give a new group for the length of the block; what its processes had before they were added does not count."""
    is_first = (ROOT / "memory").is_dir()  # version 1 has a folder for each controller
    group = (ROOT / "memory" if is_first else ROOT) / f"foveal-test-{os.getpid()}"
    limits = {"memory.limit_in_bytes": limit_bytes} if is_first else {"memory.max": limit_bytes}
    if (group.parent / "memory.swap.max").exists():
        limits["memory.swap.max"] = 0
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        for name, value in limits.items():
            file = group / name
            if not file.exists():
                pytest.skip(f"control groups have no {name} here")
            file.write_text(str(value))
        yield group
    finally:
        while (group / "cgroup.procs").read_text().strip():
            pass  # the kernel has not yet removed the last process
        group.rmdir()


def add(group: Path, pids: Iterable[int]) -> None:
    """Move these processes into the group; those that they start later are in it too."""
    for pid in pids:
        (group / "cgroup.procs").write_text(str(pid))
