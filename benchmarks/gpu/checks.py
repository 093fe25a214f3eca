"""Does one network run on the GPU as it should: placement, agreement, graphs, and then its buffers and memory."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.buffers import report_copies, report_growth, report_locked
from benchmarks.gpu.comparison import Run, agree, reference_outputs
from benchmarks.gpu.networks import Network, half_servable, inputs_of, largest_batch, network
from benchmarks.gpu.order import Order, Report, verdict
from benchmarks.gpu.sessions import (
    PRECISIONS,
    Opened,
    Precision,
    device_of,
    layout_of,
    reference_session,
    warm,
)
from benchmarks.gpu.timing import median_ms
from exporter.network import Outputs
from service.errors import DeviceError, ServableError
from service.runtime.device import CPU_PROVIDER, HEAVY_OPERATORS
from service.runtime.io_binding import CaptureLock
from service.runtime.session import placement

IMAGES, IMAGES_ON_CPU = 64, 8
LARGEST = 32
"""The largest batch of the service on a GPU."""
REFERENCE_SHARE = 0.1
"""Of the step's time, for the outputs of the CPU."""
Placement = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: a network, its inputs, (N, …), and its outputs in fp32 on the CPU."""

    network: Network
    inputs: NDArray[Any]
    expected: Outputs
    largest: int


def check(order: Order, report: Report) -> None:
    """Check a network in each precision, then its buffers, and its memory over many batches."""
    subject = _subject(network(order.arguments["model"], order.out), order)
    report({"images": len(subject.inputs), "largest_batch": subject.largest})
    device, capture_lock = device_of(order), CaptureLock()
    kept: Opened | None = None
    for precision in PRECISIONS:
        began = time.monotonic()
        try:
            opened = warm(
                subject.network,
                order,
                device,
                precision,
                largest=subject.largest,
                capture_lock=capture_lock,
            )
        except (ServableError, DeviceError) as error:
            report(verdict(f"{precision}: it runs on the device", holds=False, because=str(error)))
            continue
        seconds = round(time.monotonic() - began, 2)
        layout = layout_of(subject.network, order, device, precision, largest=subject.largest)
        report({"precisions": {precision: {"warm_seconds": seconds, "layout": layout}}})
        _report_placement(opened, precision, order, report)
        _report_graphs(opened, precision, subject.inputs, report)
        report_agreement(subject, opened.bound, precision, order, report)
        kept = kept or opened
    if kept is not None:
        report_locked(kept, order, report)
        report_copies(kept, subject.inputs, report)
        report_growth(kept, subject.inputs, order, report)


def _subject(one: Network, order: Order) -> Subject:
    reference = reference_session(one, order.out / "cache")
    inputs = inputs_of(one, IMAGES_ON_CPU if order.stand_in else IMAGES)
    inputs = _as_many_as_fit(reference, inputs, order.left(REFERENCE_SHARE))
    largest = largest_batch(one.card, stand_in=order.stand_in, most=LARGEST)
    return Subject(one, inputs, reference_outputs(reference, inputs), largest)


def _as_many_as_fit(
    run: Callable[[NDArray[Any]], object], inputs: NDArray[Any], seconds: float
) -> NDArray[Any]:
    """Return so many of the inputs as the CPU runs in this time, at least two."""
    began = time.monotonic()
    run(inputs[:1])
    taken = time.monotonic() - began
    return inputs[: max(2, int(seconds / max(taken, 1e-6)))]


def report_agreement(
    subject: Subject, run: Run, precision: Precision, order: Order, report: Report
) -> None:
    """Report whether the outputs of `run` are those of fp32 on the CPU.

    Where fp16 is too coarse for a network on the CPU too, an export refuses it, and the GPU is not to blame.
    """
    card, expected, inputs = subject.network.card, subject.expected, subject.inputs
    found = agree(card, run, expected, inputs, precision, largest=subject.largest)
    report({"precisions": {precision: {"agreement": asdict(found)}}})
    holds: bool | None = found.holds
    because = str(found)
    if not holds and precision == "fp16":
        half = reference_session(half_servable(subject.network, order.out), order.out / "cache")
        there = agree(card, half, expected, inputs, precision, largest=subject.largest)
        if not there.holds:
            holds, because = None, f"{because}; fp16 on the CPU is refused too: {there}"
    report(verdict(f"{precision}: it agrees with the CPU", holds=holds, because=because))


def _report_placement(opened: Opened, precision: Precision, order: Order, report: Report) -> None:
    found = placement(opened.sessions[1].onnxruntime)
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
    replayed, plain = opened.bound(inputs[:1]), opened.plain(inputs[:1])
    off = max(_off(replayed[name], rows) for name, rows in plain.items())
    times = {
        "bound_ms": median_ms(lambda: opened.bound(inputs[:1])),
        "plain_ms": median_ms(lambda: opened.plain(inputs[:1])),
    }
    found = {"graphs": opened.graphs, "plainer": opened.plainer, "off": off, **times}
    report({"precisions": {precision: found}})
    because = opened.plainer or (
        f"a batch of one takes {times['bound_ms']:.2f} ms replayed and {times['plain_ms']:.2f} ms in a plain run, "
        f"and differs by {off:.2g} of the largest value"
    )
    name = f"{precision}: graphs are captured and replayed"
    report(verdict(name, holds=opened.graphs, because=because))


def _off(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference as a share of the largest value."""
    one, other = found.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(one - other).max(initial=0.0) / max(np.abs(other).max(initial=0.0), 1e-12))
