"""Those that are measured, running: a server under the load generator, or the limit in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.contenders import ROOT
from benchmarks.results import Facts
from benchmarks.server import Server, StartError
from benchmarks.statistics import Sample
from benchmarks.subject import Subject
from benchmarks.usage import CpuMeter, MemoryWatch, Tree

SETTLE_SECONDS = 30.0
MIB = 2**20


class Contender(Protocol):
    """Something that can be measured."""

    def measure(self, clients: int, seconds: float) -> Sample: ...


@dataclass(frozen=True, slots=True)
class Served:
    """A server under the load generator."""

    server: Server
    facts: Facts
    subject: Subject
    path: str

    def learn_idle(self) -> None:
        """Measure the cores that it uses without requests; if it uses many, suspend it until its turn."""
        self.server.tree.learn_idle()
        self.facts.idle_cores = round(self.server.tree.idle_cores, 3)
        self.server.tree.suspend()

    def measure(self, clients: int, seconds: float) -> Sample:
        tree = self.server.tree
        tree.resume()
        with MemoryWatch(tree) as memory:
            meter = CpuMeter(tree)
            outcome = self.subject.load(
                self.server.url(self.path), clients=clients, seconds=seconds
            )
            spent, foreign = meter.read()
        tree.settle(SETTLE_SECONDS)
        tree.suspend()
        peak = memory.peak_bytes / MIB
        self.facts.peak_memory_mib = max(self.facts.peak_memory_mib or 0.0, peak)
        images = outcome.answered * len(self.subject.body.images)
        return Sample(
            images_per_second=images / outcome.seconds,
            requests=outcome.answered,
            errors=outcome.failed,
            cpu_ms_per_image=spent * 1e3 / max(images, 1),
            p50_ms=outcome.p50_ms,
            p99_ms=outcome.p99_ms,
            foreign_cores=foreign,
        )


class Limit:
    """`benchmarks.limit` as a process that reads one command per line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._tree = Tree(process.pid)

    def measure(self, clients: int, seconds: float) -> Sample:  # noqa: ARG002  # the limit has no clients
        meter = CpuMeter(self._tree)
        answer = self.ask({"seconds": seconds})
        spent, foreign = meter.read()
        if "times_ms" in answer:
            times = answer["times_ms"]
            return Sample(
                images_per_second=len(times) / (sum(times) / 1e3),
                requests=len(times),
                errors=0,
                cpu_ms_per_image=spent * 1e3 / len(times),
                p50_ms=times[len(times) // 2],
                p99_ms=times[min(len(times) - 1, int(len(times) * 0.99))],
                foreign_cores=foreign,
            )
        rate = answer["images_per_second"]
        images = answer["images"]
        return Sample(rate, images, 0, spent * 1e3 / images, foreign_cores=foreign)

    def ask(self, command: Mapping[str, object]) -> dict[str, Any]:
        """Send a command and return its answer.

        Raises:
            StartError: the process has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise StartError(f"the limit ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def run_limit() -> Iterator[Limit]:
    """Run `benchmarks.limit`, which ends when its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.limit"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Limit(process)
    finally:
        try:
            process.communicate(timeout=SETTLE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
