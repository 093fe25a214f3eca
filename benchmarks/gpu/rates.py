"""How many images a second the session alone runs, by batch size and precision, beside a loop that only replays."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.gpu.networks import Network, inputs_of, largest_batch, network
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.sessions import (
    Opened,
    Precision,
    device_of,
    layout_of,
    memory_of,
    open_on,
    warm,
)
from service.runtime.device import GRAPH_ID, NO_GRAPH, RUNS_TO_CAPTURE, Device
from service.runtime.io_binding import CaptureLock, Memory, page_lock
from service.runtime.loading import INSTANCES_ON_GPU
from service.runtime.session import Session, run_options

MEASURED: tuple[Precision, ...] = ("tf32", "fp16", "fp32")
TURN_SECONDS = 1.0
LEAST_RUNS = 2
_GRAPH = 1


def measure(order: Order, report: Report) -> None:
    """Measure each precision with batches of 1 to 64."""
    one, device = network(order.arguments["model"], order.out), device_of(order)
    frame, largest = one.card.image_input, largest_batch(one.card, stand_in=order.stand_in)
    inputs = np.resize(inputs_of(one, 8), (largest, frame.height, frame.width, 3))
    for index, precision in enumerate(MEASURED):
        until = time.monotonic() + order.left(1 / (len(MEASURED) - index))
        ways = Ways(one, order, device, precision, inputs)
        layout = layout_of(one, order, device, precision, largest=largest)
        found = {"graphs": ways.graphs, "plainer": ways.plainer, "layout": layout}
        report({"precisions": {precision: found}})
        for number, size in enumerate(ways.sizes, start=1):
            if time.monotonic() > until:
                break
            runs = ways.at(size)
            turns = len(runs) * (len(ways.sizes) - number + 1)
            seconds = min(TURN_SECONDS, max(0.05, (until - time.monotonic()) / turns))
            for name, run in runs.items():
                rate = round(run(seconds), 2)
                report({"precisions": {precision: {"rates": {name: {str(size): rate}}}}})


class Ways:
    """The ways to run a network in a precision: as the service does, plainly, and in a loop that only replays.

    Attributes:
        sizes: the batch sizes, ascending.
        graphs: whether batches are replayed as CUDA graphs.
        plainer: why not; empty where they are.
    """

    def __init__(
        self, one: Network, order: Order, device: Device, precision: Precision, inputs: NDArray[Any]
    ) -> None:
        lock, largest = CaptureLock(), len(inputs)
        self._inputs = inputs
        self._memory = memory_of(device)
        self._opened = [
            warm(one, order, device, precision, largest=largest, capture_lock=lock)
            for _ in range(INSTANCES_ON_GPU)
        ]
        self.graphs, self.plainer = self._opened[0].graphs, self._opened[0].plainer
        self.sizes = self._opened[0].bound.sizes
        self._open_another = partial(
            open_on, one, order, device, precision, largest=largest, graphs=self.graphs
        )

    def at(self, size: int) -> dict[str, Callable[[float], float]]:
        """Return each way with a batch size: seconds → images a second."""
        batch, first = self._inputs[:size], self._opened[0]
        loop = Loop(self._open_another(), batch, self._memory, graphs=self.graphs)
        return {
            "session": partial(rate_of, lambda: first.bound(batch), size),
            "two sessions": partial(_at_once, self._opened, batch),
            "plain run": partial(rate_of, lambda: first.plain(batch), size),
            "captured loop": partial(rate_of, loop.with_copies, size),
            "captured loop, no copies": partial(rate_of, loop.alone, size),
        }


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


def _at_once(opened: Sequence[Opened], batch: NDArray[Any], seconds: float) -> float:
    """Return the images a second of several batches in flight, as the service runs them."""
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
        session: no other object may run it; see `service.runtime.io_binding`.
        batch: what is run, (N, …).
        memory: where the device's buffers lie.
        graphs: whether runs are captured and replayed.
    """

    def __init__(
        self, session: Session, batch: NDArray[Any], memory: Memory, *, graphs: bool
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
        self._options.add_run_config_entry(GRAPH_ID, str(_GRAPH if graphs else NO_GRAPH))
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
