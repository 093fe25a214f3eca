"""How many cores and how much memory this process may use, by affinity and by cgroup quota."""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
SYSTEM_MEMORY = Path("/proc/meminfo")
MOST_IMAGING_THREADS = 8
"""Of one process beside a GPU. They wait for the interpreter's lock: on 16 cores of an H200's machine, 8 of them decode
1,705 images a second, and 16 of them 1,396."""

LARGE_BLOCK = 1 << 20
KEPT_BLOCKS = 16 << 20
"""So much free memory at the end of a heap is kept: without it each decoded image would take its memory anew."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
YOUNG_OBJECTS = 10_000
"""Objects made and not freed before the collector runs. 38,400 requests, 16 in flight, never made so many."""


def granted_cores(root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> float:
    """Return how many cores this process may use: the smaller of its affinity mask and its lowest cgroup CPU quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [quota for folder in _cgroups(root, membership) if (quota := _cpu_quota(folder))]
    return min([float(affinity or 1), *quotas])


def granted_threads() -> int:
    """Return how many threads may run at once: whole cores, at least one."""
    return max(1, int(granted_cores()))


def imaging_threads(share: Callable[[int], int], granted: int | None = None) -> int:
    """Return how many threads of this process prepare images beside a GPU.

    Args:
        share: a number of threads → this process's part of it.
        granted: threads that may run at once; None: `granted_threads`.
    """
    return min(share(granted or granted_threads()), MOST_IMAGING_THREADS)


def granted_memory(root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Return how many bytes of memory this process may use; None where the system does not state it."""
    limits = [limit for folder in _cgroups(root, membership) if (limit := _memory_limit(folder))]
    return min([*limits, *_physical_memory()], default=None)


def _physical_memory() -> list[int]:
    try:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return []


class MemoryLeft(NamedTuple):
    """What a cgroup leaves to its processes, in bytes, and its limit."""

    left: int
    limit: int


def memory_left(
    root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP, system: Path = SYSTEM_MEMORY
) -> MemoryLeft | None:
    """Return what this process's cgroups leave it at most; None where none limits its memory, or states what it holds.

    What the system can read from files again does not count as held, and swap that may be used counts as left.
    """
    most = min(_physical_memory(), default=None)
    found = []
    for folder in _cgroups(root, membership):
        limit = _memory_limit(folder)
        if limit is None or (most is not None and limit >= most):
            continue
        held = _held(folder)
        if held is not None:
            swap = min(_swap_limit(folder, limit), _number(_table(system).get("SwapFree:")) << 10)
            found.append(MemoryLeft(max(0, limit + swap - held), limit))
    return min(found, default=None)


def _held(folder: Path) -> int | None:
    """Return the bytes that a cgroup and those below it hold in no file: version 1 has the sums under other names."""
    table = _table(folder / "memory.stat")
    for anonymous, shared in (("total_rss", "total_shmem"), ("anon", "shmem")):
        if anonymous in table:
            return _number(table[anonymous]) + _number(table.get(shared))
    return None


def _swap_limit(folder: Path, limit: int) -> int:
    """Return how much swap a cgroup may use; where it does not say, all of it."""
    text = _read(folder / "memory.swap.max")
    both = _read(folder / "memory.memsw.limit_in_bytes")
    if both.isdigit():
        return int(both) - limit
    return int(text) if text.isdigit() else sys.maxsize


def _table(path: Path) -> dict[str, str]:
    """Return what a file of lines such as `anon 4096`, or `SwapFree: 4 kB`, says."""
    lines = (line.split() for line in _read(path).splitlines())
    return {line[0]: line[1] for line in lines if len(line) > 1}


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0


def memory_kills(root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> dict[Path, int]:
    """Return how many processes the kernel has ended for want of memory, by cgroup of this process."""
    found = {}
    for folder in _cgroups(root, membership):
        for name in ("memory.events", "memory.oom_control"):
            count = _table(folder / name).get("oom_kill")
            if count is not None:
                found[folder] = _number(count)
    return found


def _cgroups(root: Path, membership: Path) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and its parents up to the root; in version 1, for each controller."""
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        bases = [root / name for name in controllers.split(",") if name] or [root]
        for base in bases:
            folder = base / path.lstrip("/")
            yield folder
            yield from (parent for parent in folder.parents if parent.is_relative_to(base))


def _cpu_quota(folder: Path) -> float | None:
    """Return cores from `cpu.max` (version 2: "max 100000" or "150000 100000"), or from the two files of version 1."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not quota:
        quota = _read(folder / "cpu.cfs_quota_us")
        period = _read(folder / "cpu.cfs_period_us")
    if not quota.strip().isdigit() or not period.strip().isdigit():
        return None
    return int(quota) / int(period)


def _memory_limit(folder: Path) -> int | None:
    text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
    return int(text) if text.strip().isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def resident_bytes() -> int:
    """Return how much memory this process holds; 0 where the system does not state it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def private_bytes() -> int:
    """Return how much memory this process holds that the system can not read from files again; 0: it does not say."""
    return _private("VmRSS")


def most_private_bytes() -> int:
    """Return the most of it that this process has held; 0: the system does not say."""
    return _private("VmHWM")


def _private(size: str) -> int:
    found = dict(line.split(":", 1) for line in _read(Path("/proc/self/status")).splitlines())
    try:  # "  246000 kB"
        return (int(found[size].split()[0]) - int(found["RssFile"].split()[0])) << 10
    except (KeyError, ValueError, IndexError):
        return 0


def trim_heap() -> None:
    """Return free pages of the C heap to the system; blocking, and without effect where the C library is not glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def return_large_blocks_at_once() -> None:
    """Have the C heap take large blocks from the system and give each back when it is freed; glibc only.

    Else it learns from the first freed block of up to 32 MiB to keep all such: the heap of each thread that has read a
    large body or image holds that much for good. What is paid is a page fault for each 4 KiB of a large block.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BLOCKS)


def spare_the_collector() -> None:
    """Exclude all present objects from Python's garbage collection, and look for cycles less often.

    Reference counts free nearly all objects of a request. Every few thousand requests a full collection stopped the
    interpreter for 28 ms; without the objects of the loaded models it takes 0.1 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


@contextlib.contextmanager
def spared_collector() -> Iterator[None]:
    """Look for cycles less often for the length of the block, in a process that does something else then.

    It freezes nothing: what the process has frozen itself could not be told from that when the block ends. With this
    threshold 6,000 images of LeNet-5 spent 3 ms in the collector, with all objects frozen too.
    """
    before = gc.get_threshold()
    if 0 < before[0] < YOUNG_OBJECTS:  # 0: this process has no collector
        gc.set_threshold(YOUNG_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
