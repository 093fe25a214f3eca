"""Which options of the CUDA provider make a network fast: order of the axes, fused bias, search of kernels."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.comparison import agree, reference_outputs
from benchmarks.gpu.networks import Network, inputs_of, largest_batch, network
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.sessions import (
    Precision,
    bind,
    device_of,
    memory_of,
    plan_of,
    reference_session,
)
from benchmarks.gpu.timing import median_ms
from exporter.network import Outputs
from service.errors import DeviceError, ServableError
from service.runtime.device import LAYOUT_OPTIONS, LAYOUTS, with_cuda
from service.runtime.io_binding import BoundSession, CaptureLock
from service.runtime.session import open_session

MEASURED: tuple[Precision, ...] = ("fp32", "tf32")
SIZES = (1, 8, 32)
IMAGES = 16
OPTIONS: Mapping[str, Mapping[str, str]] = {
    **{str(layout): LAYOUT_OPTIONS[layout] for layout in LAYOUTS},
    "heuristics of mode A": {"cudnn_conv_algo_search": "HEURISTIC"},
}


def measure(order: Order, report: Report) -> None:
    """Measure a batch of each size with each set of options, and whether the outputs are still those of the CPU."""
    subject = _subject(network(order.arguments["model"], order.out), order)
    for precision in MEASURED:
        for name, options in OPTIONS.items():
            if not order.left():
                return
            try:
                found = _measured(subject, order, precision, options)
            except (ServableError, DeviceError) as error:
                found = {"refused": str(error)}
            report({"precisions": {precision: {name: found}}})


@dataclass(frozen=True, slots=True)
class _Subject:
    """A network with inputs, (N, …), its outputs in fp32 on the CPU, and the batch sizes."""

    network: Network
    inputs: NDArray[Any]
    expected: Outputs
    sizes: tuple[int, ...]


def _subject(one: Network, order: Order) -> _Subject:
    inputs = inputs_of(one, IMAGES)
    expected = reference_outputs(reference_session(one, order.out / "cache"), inputs)
    most = largest_batch(one.card, stand_in=order.stand_in, most=max(SIZES))
    return _Subject(one, inputs, expected, tuple(size for size in SIZES if size <= most))


def _measured(
    subject: _Subject, order: Order, precision: Precision, options: Mapping[str, str]
) -> dict[str, Any]:
    began = time.monotonic()
    bound = _open(subject, order, precision, options)
    found: dict[str, Any] = {"warm_seconds": round(time.monotonic() - began, 2)}
    for size in subject.sizes:
        batch = np.resize(subject.inputs, (size, *subject.inputs.shape[1:]))
        found[f"ms at {size}"] = round(median_ms(partial(bound, batch)), 3)
    agreement = agree(
        subject.network.card,
        bound,
        subject.expected,
        subject.inputs,
        precision,
        largest=max(subject.sizes),
    )
    return {**found, "agreement": asdict(agreement)}


def _open(
    subject: _Subject, order: Order, precision: Precision, options: Mapping[str, str]
) -> BoundSession:
    one, device = subject.network, device_of(order)
    cache, largest = order.out / "cache", max(subject.sizes)
    plan = plan_of(one, device, precision, largest=largest, graphs=True, cache=cache)
    plan = replace(with_cuda(plan, options), batch_sizes=subject.sizes)
    open_it = partial(open_session, one.path, device, plan)
    return bind(one, open_it, memory_of(device), CaptureLock(), {})
