"""Samples the service from outside: memory, threads and open files of each process, and the series of `/metrics`."""

import contextlib
import http.client
import statistics
import time
from dataclasses import dataclass, field

import psutil

from benchmarks.server import HOST, Server
from benchmarks.soak.tally import Tally, name_of
from benchmarks.usage import CpuMeter

MIB = 2**20
SCRAPE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The service at one time, and what was answered since the sample before.

    `memory_mib` is the sum of the resident memory of all processes; `processes` has that of each. `foreign_cores` is
    the number of cores that other work on the machine used. `files` are the open files without the connections of the
    client, whose number follows the load.
    """

    seconds: float
    memory_mib: float
    threads: int
    files: int
    series: int
    processes: dict[str, float]
    foreign_cores: float
    answered: int
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int] = field(default_factory=dict)


class Watch:
    """Takes samples of a running server; `take` blocks for some milliseconds."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._began = time.perf_counter()
        self._meter = CpuMeter(server.tree)

    def take(self, key: str, connections: int, tally: Tally) -> Sample:
        """Return a sample; `connections` of the client are not counted as open files."""
        memory: dict[str, float] = {}
        threads = files = 0
        for process in self._server.tree.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
                memory[str(process.pid)] = round(process.memory_info().rss / MIB, 1)
                threads += process.num_threads()
                files += process.num_fds()
        _, foreign = self._meter.read()
        self._meter = CpuMeter(self._server.tree)
        latencies = sorted(1e3 * one for some in tally.latencies.values() for one in some) or [0.0]
        statuses: dict[str, int] = {}
        for count in tally.statuses.values():
            for status, times in count.items():
                statuses[name_of(status)] = statuses.get(name_of(status), 0) + times
        return Sample(
            seconds=round(time.perf_counter() - self._began, 1),
            memory_mib=round(sum(memory.values()), 1),
            threads=threads,
            files=files - connections,
            series=self._series(key),
            processes=memory,
            foreign_cores=round(foreign, 2),
            answered=tally.sent,
            p50_ms=round(statistics.median(latencies), 1),
            p99_ms=round(latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))], 1),
            statuses=dict(sorted(statuses.items())),
        )

    def _series(self, key: str) -> int:
        connection = http.client.HTTPConnection(HOST, self._server.port, timeout=SCRAPE_SECONDS)
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {key}"})
            response = connection.getresponse()
            page = response.read()
            if response.status != 200:
                raise RuntimeError(f"/metrics answered {response.status}: {page[:200]!r}")
        finally:
            connection.close()
        return sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))
