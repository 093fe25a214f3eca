"""The memory of a network that is warm: are its buffers on the host locked, what do copies cost, and does it grow?"""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.cuda import CudaMemory
from benchmarks.gpu.growth import BATCHES, growth_of, run_batches, sizes_in_turn
from benchmarks.gpu.order import Order, Report, verdict
from benchmarks.gpu.sessions import Opened
from benchmarks.gpu.timing import median_ms
from service.runtime.io_binding import find_cuda_runtime

SHARE_ON_CPU = 0.4
"""Of the time that is left, where the CPU stands in and may never reach the number of batches."""


def report_locked(opened: Opened, order: Order, report: Report) -> None:
    """Report whether CUDA counts the buffers on the host as locked, and an ordinary buffer not."""
    name = "page-locked buffers are locked"
    runtime = None if order.stand_in else find_cuda_runtime()
    if runtime is None:
        because = "the CPU stands in" if order.stand_in else "there is no library of CUDA's runtime"
        report(verdict(name, holds=None, because=because))
        return
    memory = CudaMemory(runtime)
    sizes = opened.bound.sizes
    kinds = {
        str(size): memory.kind_of(opened.bound.pinned_input(size).ctypes.data) for size in sizes
    }
    ordinary = np.zeros((sizes[-1], *opened.bound.blank.shape), opened.bound.blank.dtype)
    beside = memory.kind_of(ordinary.ctypes.data)
    report({"buffers": {"by_batch": kinds, "ordinary": beside}})
    # An ordinary buffer that counts as locked too would mean that this check can not tell.
    holds = all(kind == "locked" for kind in kinds.values()) and beside != "locked"
    because = f"by batch: {kinds}; another buffer is {beside}"
    report(verdict(name, holds=holds, because=because))


def report_copies(opened: Opened, inputs: NDArray[Any], report: Report) -> None:
    """Report how long the largest batch takes when it is already in its buffer, and when it must be copied there."""
    largest = opened.bound.sizes[-1]
    room = opened.bound.pinned_input(largest)
    batch = np.resize(inputs, room.shape)
    room[:] = batch
    times = {
        "in_place_ms": median_ms(lambda: opened.bound(room)),
        "copied_ms": median_ms(lambda: opened.bound(batch)),
    }
    report({"buffers": {"batch": largest, **times}})


def report_growth(opened: Opened, inputs: NDArray[Any], order: Order, report: Report) -> None:
    """Report whether the memory of this process and of the GPU grows over many batches."""
    runtime = None if order.stand_in else find_cuda_runtime()
    memory = CudaMemory(runtime) if runtime is not None else None
    sizes = sizes_in_turn(min(opened.bound.sizes[-1], len(inputs)))
    samples = run_batches(
        lambda _: opened.bound(inputs[: next(sizes)]),
        seconds=order.left(SHARE_ON_CPU if order.stand_in else 1.0),
        device_bytes=memory.used_bytes if memory else lambda: None,
    )
    found = {kind: growth_of(kind, getattr(samples, kind)) for kind in ("host", "device")}
    grown = {kind: asdict(one) for kind, one in found.items() if one is not None}
    report({"growth": {"batches": samples.batches, **grown}})
    enough = samples.batches >= BATCHES or order.stand_in
    judged = [one for one in found.values() if one is not None]
    needed = 1 if order.stand_in else 2
    grew = any(not one.holds for one in judged)
    holds = False if grew else (True if enough and len(judged) >= needed else None)
    parts = [
        f"{kind} {one['mib']:+.1f} MiB ({one['allowed']:g} allowed)" for kind, one in grown.items()
    ]
    because = (
        f"{samples.batches:,} of {BATCHES:,} batches: {', '.join(parts) or 'too few to judge'}"
    )
    report(verdict("no memory leaks", holds=holds, because=because))
