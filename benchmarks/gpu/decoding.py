"""How many images a second the cores decode and resize: the limit of the service on a fast GPU."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.gpu.networks import network
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.photographs import request_body
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.runtime.host import granted_threads

TURN_SECONDS = 3.0
MODEL = "efficientnet-lite0"


def measure(order: Order, report: Report) -> None:
    """Measure the service's own decoding and resizing on one core, on half of them, and on all."""
    body, target = request_body(), network(MODEL, order.out).card.image_input
    limits = Limits()
    counts = sorted({1, max(1, granted_threads() // 2), granted_threads()})
    seconds = min(TURN_SECONDS, order.left() / len(counts))
    for threads in counts:
        rate = _on_threads(lambda: fit_encoded(body, target, limits), threads, seconds)
        report({"cores": {str(threads): round(rate, 1)}})


def _on_threads(run: Callable[[], object], threads: int, seconds: float) -> float:
    """Return how often a second threads together run it."""
    until = time.perf_counter() + seconds

    def pull(_: int) -> float:
        began, count = time.perf_counter(), 0
        while not count or time.perf_counter() < until:
            run()
            count += 1
        return count / (time.perf_counter() - began)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(pull, range(threads)))
