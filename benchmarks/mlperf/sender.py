"""Sends images by the rules of MLPerf's load generator; runs in that generator's own environment, with nothing else.

    python -m benchmarks.mlperf.sender '{"scenario": "Server", …}'

It prints one line of JSON: how many requests failed, the rate of the warm-up, the CPU seconds of this process, and the
seconds of the test.
"""

import http.client
import json
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg

from benchmarks.mlperf.order import Order

HOST = "127.0.0.1"
WARM_SECONDS = 3.0
MARGIN = 1.15
"""The warm-up's rate is measured in seconds; with a query that is too short, Offline would not be valid."""
MODEL_PATH = "/v1/classify?model="


class Connections:
    """Threads with a connection each, which send the bodies that are put into a queue."""

    def __init__(self, order: Order) -> None:
        self.failed = 0
        self.answered = 0
        self._order = order
        self._bodies = [Path(file).read_bytes() for file in order.bodies]
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(order.connections):
            threading.Thread(target=self._serve, daemon=True).start()

    def issue(self, samples: Any) -> None:  # noqa: ANN401  # a C++ vector of QuerySample
        for sample in samples:
            self._queue.put((sample.index, sample.id))

    def warm(self, seconds: float) -> float:
        """Keep the connections busy for so long; return the answers a second."""
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            waiting = [threading.Event() for _ in range(self._order.connections)]
            for index, event in enumerate(waiting):
                self._queue.put((index % len(self._bodies), event))
            for event in waiting:
                event.wait()
        return self.answered / (time.perf_counter() - began)

    def _serve(self) -> None:
        connection = http.client.HTTPConnection(HOST, self._order.port, timeout=60)
        while True:
            index, waits = self._queue.get()
            good = self._send(connection, self._bodies[index])
            with self._lock:
                self.answered += good
                self.failed += not good
            if isinstance(waits, threading.Event):
                waits.set()
            else:
                # Also where it failed: the generator waits for each one. A run with failures does not count.
                lg.QuerySamplesComplete([lg.QuerySampleResponse(waits, 0, 0)])

    def _send(self, connection: http.client.HTTPConnection, body: bytes) -> bool:
        try:
            path = f"{MODEL_PATH}{self._order.model}"
            connection.request("POST", path, body, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        return answer.status == 200


def settings_of(order: Order, warm_rate: float) -> Any:  # noqa: ANN401  # the generator ships no types
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, order.scenario)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = round(order.seconds * 1e3)
    settings.min_query_count = 1
    settings.offline_expected_qps = warm_rate * MARGIN
    settings.server_target_qps = order.rate
    settings.server_target_latency_ns = round(order.latency_ms * 1e6)
    settings.server_target_latency_percentile = 0.99
    return settings


def run(order: Order) -> dict[str, float]:
    """Run the scenario; the generator writes its logs to `out`."""
    connections = Connections(order)
    warm_rate = connections.warm(WARM_SECONDS)
    log = lg.LogSettings()
    output = lg.LogOutputSettings()
    output.outdir = order.out
    output.copy_summary_to_stdout = False
    log.log_output = output
    log.enable_trace = False
    system = lg.ConstructSUT(connections.issue, lambda: None)
    count = len(order.bodies)
    library = lg.ConstructQSL(count, count, lambda _: None, lambda _: None)
    cpu, began = time.process_time(), time.perf_counter()
    lg.StartTestWithLogSettings(system, library, settings_of(order, warm_rate), log)
    found = {
        "failed": connections.failed,
        "warm_rate": warm_rate,
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.perf_counter() - began,
    }
    lg.DestroyQSL(library)
    lg.DestroySUT(system)
    return found


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(run(Order(**{**given, "bodies": tuple(given["bodies"])}))), flush=True)
