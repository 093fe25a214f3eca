"""Graphs are captured while another network runs: neither may disturb the other."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.networks import inputs_of, largest_batch, network
from benchmarks.gpu.order import Order, Report, verdict
from benchmarks.gpu.sessions import Opened, device_of, warm
from service.errors import DeviceError, ServableError
from service.runtime.io_binding import CaptureLock

RUNNING = "efficientnet-lite0"
CAPTURED = ("lenet5", "ssdlite-mobilenet-v2", "u2netp", "resnet50")
CAPTURED_ON_CPU = ("lenet5", "glance", "unet-digits")
LARGEST = 8
ROUNDS = 3
SAME = 1e-2
"""How far outputs may be from those before, as a share of their largest value; see `io_binding.SAME`."""


class Runner:
    """Runs one batch again and again on a thread, and compares its outputs with those of the first time.

    Attributes:
        runs: how many there were.
        wrong: how many of them had other outputs.
        error: of the run that failed; no other follows it.
        began: set when the first run has ended.
    """

    def __init__(self, opened: Opened, batch: NDArray[Any]) -> None:
        self.runs = 0
        self.wrong = 0
        self.error = ""
        self.began = threading.Event()
        self._opened = opened
        self._batch = batch
        self._expected = {name: rows.copy() for name, rows in opened.bound(batch).items()}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                found = self._opened.bound(self._batch)
                self.runs += 1
                self.wrong += any(not _same(found[name], self._expected[name]) for name in found)
                self.began.set()
        except Exception as error:  # noqa: BLE001  # a thread would otherwise die silently; it is reported
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self.began.set()


def _same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Return whether two outputs agree, as far as rounding allows."""
    scale = float(np.abs(expected).max(initial=0.0))
    off = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return bool(off <= SAME * scale)


def capture_beside(order: Order, report: Report) -> None:
    """Capture several networks, again and again, while one runs."""
    device, lock = device_of(order), CaptureLock()
    one = network(RUNNING, order.out)
    size = largest_batch(one.card, stand_in=order.stand_in, most=4)
    opened = warm(one, order, device, "tf32", largest=size, capture_lock=lock)
    runner = Runner(opened, inputs_of(one, size))
    runner.start()
    captures, plain = dict[str, int](), dict[str, str]()
    names = CAPTURED_ON_CPU if order.stand_in else CAPTURED
    try:
        for name in names * ROUNDS:
            if runner.error or order.left() <= 0:
                break
            other = network(name, order.out)
            most = largest_batch(other.card, stand_in=order.stand_in, most=LARGEST)
            found = warm(other, order, device, "tf32", largest=most, capture_lock=lock)
            if found.graphs:
                captures[name] = captures.get(name, 0) + len(found.bound.sizes)
            else:
                plain[name] = found.plainer
            report({"captures": captures, "plain": plain, "runs": runner.runs})
    except (ServableError, DeviceError) as error:
        runner.error = runner.error or f"while another network ran: {error}"
    finally:
        runner.stop()
    holds = not runner.error and not runner.wrong and bool(runner.runs) and bool(captures)
    because = runner.error or (
        f"{sum(captures.values())} captures of {', '.join(captures)} beside {runner.runs} runs, "
        f"of which {runner.wrong} had other outputs"
    )
    report({"runs": runner.runs, "wrong": runner.wrong})
    report(verdict("networks are captured while another runs", holds=holds, because=because))
