"""Does one network run on the GPU as it should: placement, agreement, graphs, locked buffers, memory."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.comparison import agree, reference_outputs
from benchmarks.gpu.cuda import CudaMemory
from benchmarks.gpu.growth import BATCHES, growth_of, run_batches, sizes_in_turn
from benchmarks.gpu.networks import inputs_of, largest_batch, network
from benchmarks.gpu.order import Order, Report, verdict
from benchmarks.gpu.sessions import (
    PRECISIONS,
    Opened,
    Precision,
    device_of,
    reference_session,
    warm,
)
from service.errors import DeviceError, ServableError
from service.runtime.device import CPU_PROVIDER, HEAVY_OPERATORS
from service.runtime.io_binding import CaptureLock, find_cuda_runtime
from service.runtime.session import placement

IMAGES, IMAGES_ON_CPU = 64, 8
FEWEST_TIMES, MOST_TIMES = 3, 31
LEAK_SHARE_ON_CPU = 0.4
"""Of the time that is left, where the CPU stands in and may never reach the number of batches."""
LARGEST = 32
"""The largest batch of the service on a GPU."""
Placement = dict[str, dict[str, int]]


def check(order: Order, report: Report) -> None:
    """Check a network in each precision, then its memory over many batches."""
    one = network(order.arguments["model"], order.out)
    device = device_of(order)
    reference = reference_session(one, order.out / "cache")
    inputs = inputs_of(one, IMAGES_ON_CPU if order.stand_in else IMAGES)
    inputs = _as_many_as_fit(reference, inputs, order.left(0.1))
    expected = reference_outputs(reference, inputs)
    largest = largest_batch(one.card, stand_in=order.stand_in, most=LARGEST)
    report({"images": len(inputs), "largest_batch": largest})
    capture_lock = CaptureLock()
    kept: Opened | None = None
    for precision in PRECISIONS:
        began = time.monotonic()
        try:
            opened = warm(one, order, device, precision, largest=largest, capture_lock=capture_lock)
        except (ServableError, DeviceError) as error:
            report(verdict(f"{precision}: it runs on the device", holds=False, because=str(error)))
            continue
        seconds = round(time.monotonic() - began, 2)
        report({"precisions": {precision: {"warm_seconds": seconds}}})
        _report_placement(opened, precision, order, report)
        _report_graphs(opened, precision, inputs, report)
        found = agree(one.card, opened.bound, expected, inputs, precision, largest=largest)
        report({"precisions": {precision: {"agreement": asdict(found)}}})
        report(
            verdict(f"{precision}: it agrees with the CPU", holds=found.holds, because=str(found))
        )
        kept = kept or opened
    if kept is not None:
        _report_locked(kept, largest, order, report)
        _report_copies(kept, inputs, report)
        _report_growth(kept, inputs, largest, order, report)


def _as_many_as_fit(
    run: Callable[[NDArray[Any]], object], inputs: NDArray[Any], seconds: float
) -> NDArray[Any]:
    """Return so many of the inputs as the CPU runs in this time, at least two."""
    began = time.monotonic()
    run(inputs[:1])
    taken = time.monotonic() - began
    return inputs[: max(2, int(seconds / max(taken, 1e-6)))]


def _report_placement(opened: Opened, precision: Precision, order: Order, report: Report) -> None:
    found = placement(opened.session.onnxruntime)
    report({"precisions": {precision: {"placement": found}}})
    away = misplaced(found)
    because = ", ".join(away) or f"{_count(found)} nodes on {' and '.join(sorted(found))}"
    holds = None if order.stand_in else not away
    report(verdict(f"{precision}: heavy nodes are on the GPU", holds=holds, because=because))


def misplaced(found: Placement) -> list[str]:
    """Return the heavy operators on the CPU, with how many nodes of each."""
    return [
        f"{count} {operator} on the CPU"
        for operator, count in sorted(found.get(CPU_PROVIDER, {}).items())
        if operator in HEAVY_OPERATORS
    ]


def _count(found: Placement) -> int:
    return sum(sum(operators.values()) for operators in found.values())


def _report_graphs(
    opened: Opened, precision: Precision, inputs: NDArray[Any], report: Report
) -> None:
    """Report whether graphs are replayed: that they give what a plain run gives, and how long each takes."""
    replayed, plain = opened.bound(inputs[:1]), opened.session(inputs[:1])
    off = max(_off(replayed[name], rows) for name, rows in plain.items())
    times = {
        "bound_ms": _median_ms(lambda: opened.bound(inputs[:1])),
        "plain_ms": _median_ms(lambda: opened.session(inputs[:1])),
    }
    found = {"graphs": opened.graphs, "plainer": opened.plainer, "off": off, **times}
    report({"precisions": {precision: found}})
    because = opened.plainer or (
        f"a batch of one takes {times['bound_ms']:.2f} ms replayed and {times['plain_ms']:.2f} ms in a plain run"
    )
    name = f"{precision}: graphs are captured and replayed"
    report(verdict(name, holds=opened.graphs, because=because))


def _off(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference as a share of the largest value."""
    one, other = found.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(one - other).max(initial=0.0) / max(np.abs(other).max(initial=0.0), 1e-12))


def _median_ms(run: Callable[[], object]) -> float:
    """Return the median milliseconds of a run, over a second or a few runs."""
    taken: list[float] = []
    while len(taken) < FEWEST_TIMES or (len(taken) < MOST_TIMES and sum(taken) < 1e3):
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1e3)
    return round(float(np.median(taken)), 3)


def _report_locked(opened: Opened, largest: int, order: Order, report: Report) -> None:
    name = "page-locked buffers are locked"
    runtime = None if order.stand_in else find_cuda_runtime()
    if runtime is None:
        because = "the CPU stands in" if order.stand_in else "there is no library of CUDA's runtime"
        report(verdict(name, holds=None, because=because))
        return
    memory = CudaMemory(runtime)
    sizes = opened.session.plan.batch_sizes
    kinds = {
        str(size): memory.kind_of(opened.bound.pinned_input(size).ctypes.data) for size in sizes
    }
    ordinary = np.zeros((largest, *opened.bound.blank.shape), opened.bound.blank.dtype)
    beside = memory.kind_of(ordinary.ctypes.data)
    report({"buffers": {"by_batch": kinds, "ordinary": beside}})
    # An ordinary buffer that counts as locked too would mean that this check can not tell.
    holds = all(kind == "locked" for kind in kinds.values()) and beside != "locked"
    because = f"by batch: {kinds}; another buffer is {beside}"
    report(verdict(name, holds=holds, because=because))


def _report_copies(opened: Opened, inputs: NDArray[Any], report: Report) -> None:
    """Report how long the largest batch takes when it is already in its buffer, and when it must be copied there."""
    largest = opened.session.plan.batch_sizes[-1]
    room = opened.bound.pinned_input(largest)
    batch = np.resize(inputs, room.shape)
    room[:] = batch
    times = {
        "in_place_ms": _median_ms(lambda: opened.bound(room)),
        "copied_ms": _median_ms(lambda: opened.bound(batch)),
    }
    report({"buffers": {"batch": largest, **times}})


def _report_growth(
    opened: Opened, inputs: NDArray[Any], largest: int, order: Order, report: Report
) -> None:
    runtime = None if order.stand_in else find_cuda_runtime()
    memory = CudaMemory(runtime) if runtime is not None else None
    sizes = sizes_in_turn(min(largest, len(inputs)))
    samples = run_batches(
        lambda _: opened.bound(inputs[: next(sizes)]),
        seconds=order.left(LEAK_SHARE_ON_CPU if order.stand_in else 1.0),
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
