"""How many images a second the session alone runs, by batch size and precision, beside a loop that only replays."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.gpu.networks import Network, inputs_of, largest_batch, network
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.sessions import Opened, Precision, device_of, memory_of, open_on, warm
from service.runtime.device import GRAPH_ID, NO_GRAPH, RUNS_TO_CAPTURE, Device
from service.runtime.io_binding import CaptureLock, Memory, page_lock
from service.runtime.session import Session, run_options

MEASURED: tuple[Precision, ...] = ("tf32", "fp16", "fp32")
TURN_SECONDS = 1.0
LEAST_RUNS = 3


def measure(order: Order, report: Report) -> None:
    """Measure each precision with batches of 1 to 64."""
    one, device = network(order.arguments["model"], order.out), device_of(order)
    largest = largest_batch(one.card, stand_in=order.stand_in)
    inputs = np.resize(inputs_of(one, 8), (largest, *_shape(one)))
    for index, precision in enumerate(MEASURED):
        until = time.monotonic() + order.left(1 / (len(MEASURED) - index))
        _measure(one, order, device, precision, inputs, until, report)


def _shape(one: Network) -> tuple[int, ...]:
    frame = one.card.image_input
    return frame.height, frame.width, 3


def _measure(
    one: Network,
    order: Order,
    device: Device,
    precision: Precision,
    inputs: NDArray[Any],
    until: float,
    report: Report,
) -> None:
    lock, largest = CaptureLock(), len(inputs)
    opened = [
        warm(one, order, device, precision, largest=largest, capture_lock=lock) for _ in range(2)
    ]
    sizes = opened[0].session.plan.batch_sizes
    graphs = opened[0].graphs
    report({"precisions": {precision: {"graphs": graphs, "plainer": opened[0].plainer}}})
    looping = open_on(one, order, device, precision, largest=largest, graphs=graphs)
    for index, size in enumerate(sizes):
        batch = inputs[:size]
        loop = Loop(looping, batch, memory_of(device), number=index + 1, graphs=graphs)
        ways: dict[str, Callable[[float], float]] = {
            "session": lambda s, b=batch: rate_of(lambda: opened[0].bound(b), len(b), s),
            "two sessions": lambda s, b=batch: _both(opened, b, s),
            "plain run": lambda s, b=batch: rate_of(lambda: opened[0].session(b), len(b), s),
            "captured loop": lambda s, b=batch, go=loop: rate_of(go.with_copies, len(b), s),
            "captured loop, no copies": lambda s, b=batch, go=loop: rate_of(go.alone, len(b), s),
        }
        turns = len(ways) * (len(sizes) - index)
        seconds = min(TURN_SECONDS, max(0.05, (until - time.monotonic()) / turns))
        for name, way in ways.items():
            rate = round(way(seconds), 2)
            report({"precisions": {precision: {"rates": {name: {str(size): rate}}}}})


def rate_of(
    run: Callable[[], object],
    images: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the images a second of runs of a batch, one after the other, over about this time."""
    run()
    began, runs = clock(), 0
    while runs < LEAST_RUNS or clock() - began < seconds:
        run()
        runs += 1
    return runs * images / (clock() - began)


def _both(opened: Sequence[Opened], batch: NDArray[Any], seconds: float) -> float:
    """Return the images a second of two batches in flight, as the service runs them."""
    rates: list[float] = []

    def run(one: Opened) -> None:
        rates.append(rate_of(lambda: one.bound(batch), len(batch), seconds))

    threads = [threading.Thread(target=run, args=(one,)) for one in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


class Loop:
    """The least that a run can cost: one session, one size, no other thread, no lock, no queue.

    Args:
        session: with `graphs` no other object may run it in this thread at the same size.
        batch: what is run, (N, …).
        memory: where the device's buffers lie.
        number: of the graph; each size has its own.
        graphs: whether runs are captured and replayed.
    """

    def __init__(
        self, session: Session, batch: NDArray[Any], memory: Memory, *, number: int, graphs: bool
    ) -> None:
        self._onnxruntime = session.onnxruntime
        self._host = batch.copy()
        page_lock(self._host, memory)
        device, index = memory.device, memory.index
        self._given = ort.OrtValue.ortvalue_from_shape_and_type(
            batch.shape, batch.dtype, device, index
        )
        self._given.update_inplace(self._host)
        self._binding = self._onnxruntime.io_binding()
        name = session.inputs[0].name
        self._binding.bind_ortvalue_input(name, self._given)
        options = run_options()
        options.add_run_config_entry(GRAPH_ID, str(NO_GRAPH))
        plain = self._onnxruntime.run(None, {name: self._host}, options)
        for output, rows in zip(session.outputs, plain, strict=True):
            room = ort.OrtValue.ortvalue_from_shape_and_type(rows.shape, rows.dtype, device, index)
            self._binding.bind_ortvalue_output(output.name, room)
        self._options = run_options()
        self._options.add_run_config_entry(GRAPH_ID, str(number if graphs else NO_GRAPH))
        for _ in range(RUNS_TO_CAPTURE):
            self.alone()

    def alone(self) -> None:
        """Run the network on what lies on the device."""
        self._onnxruntime.run_with_iobinding(self._binding, self._options)

    def with_copies(self) -> list[NDArray[Any]]:
        """Copy the batch to the device, run, and return copies of the outputs."""
        self._given.update_inplace(self._host)
        self.alone()
        return [value.numpy() for value in self._binding.get_outputs()]
