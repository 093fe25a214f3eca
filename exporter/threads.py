"""The cores: how many threads PyTorch uses, and two frameworks that work at the same time."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread until the block ends.

    On two cores with other load two threads wait for each other: 37 ms per image instead of 14.
    """
    with _torch_threads(1):
        yield


@contextmanager
def half_of_the_cores() -> Iterator[None]:
    """Run PyTorch on half of the cores until the block ends; the other half is for ONNX Runtime, at the same time.

    A ResNet-50 image takes PyTorch 0.12 s of processor time on one of two busy cores, 0.4 s on both: its threads spin
    while they wait for each other.
    """
    with _torch_threads(half()):
        yield


def half() -> int:
    """Return half of the number of cores that this process may use, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // 2)


def beside(other: Callable[[], T], own: Callable[[], U]) -> tuple[T, U]:
    """Return what both give: `other` runs on a thread of its own while this one runs `own`.

    An error of either is raised, that of `own` first.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="source") as pool:
        begun = pool.submit(other)
        mine = own()
        return begun.result(), mine


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch  # noqa: PLC0415  # it takes a second, and commands that only read a file need none

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
