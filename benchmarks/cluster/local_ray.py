"""The service on a Ray cluster of this machine, in processes of its own that end with the block."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.server import HOST, free_port

START_SECONDS = 300.0
END_SECONDS = 60.0
CHILDREN_SECONDS = 10.0
QUIET = {"RAY_memory_monitor_refresh_ms": "0", "RAY_raylet_start_wait_time_s": "150"}
"""Else Ray kills its own processes where other programs fill the machine's memory, and a node has 30 s to start."""
_CONTROLLER = r"ray::ServeController\b"


@dataclass(frozen=True)
class LocalRay:
    """A running cluster.

    Attributes:
        url: of the service.
        process: that started it.
        log: what it and Ray print.
        headers: of scrapes.
    """

    url: str
    process: psutil.Process
    log: Path
    headers: Mapping[str, str]

    def replicas(self, kind: str) -> list[psutil.Process]:
        """Return the processes of one kind: `ingress`, `model` or `coordinator`, or Ray Serve's own `controller`."""
        title = re.compile(
            _CONTROLLER if kind == "controller" else rf"ray::ServeReplica:[^:]+:{kind}\b"
        )
        found = self.process.children(recursive=True)
        return [one for one in found if title.match(_title(one))]

    def kill(self, kind: str) -> None:
        """Kill the oldest replica of a kind, as a machine that fails does."""
        oldest = min(self.replicas(kind), key=psutil.Process.create_time)
        oldest.send_signal(signal.SIGKILL)

    def cpu_seconds(self) -> float:
        """Return what all processes of the cluster have used."""
        total = 0.0
        for one in [self.process, *self.process.children(recursive=True)]:
            try:
                times = one.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
        return total

    def sample(self, name: str, **labels: str) -> float:
        """Return the sum of the series of one scrape that have these labels."""
        text = (
            httpx.get(f"{self.url}/metrics", headers=dict(self.headers), timeout=30)
            .raise_for_status()
            .text
        )
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@contextmanager
def local_ray(
    folder: Path,
    *,
    cpus: int = 2,
    environment: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    arguments: Mapping[str, object] | None = None,
    end_seconds: float = END_SECONDS,
) -> Iterator[LocalRay]:
    """Run the service on Ray for the length of the block; all models are loaded when it begins.

    Args:
        folder: for the log.
        cpus: of the cluster, as Ray counts them.
        environment: the settings of the service.
        headers: of scrapes.
        arguments: of `serve run service.cluster:app`.
        end_seconds: how long Ray may take to end as Ctrl+C does, which is half a minute; 0: it is killed.
    """
    port = free_port()
    given = [f"{name}={value}" for name, value in (arguments or {}).items()]
    log = folder / "ray.log"
    with log.open("wb") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cluster.program", str(port), str(cpus), *given],
            env={**os.environ, **QUIET, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = psutil.Process(started.pid)
    running = LocalRay(f"http://{HOST}:{port}", process, log, headers or {})
    try:
        _await_ready(running, started)
        yield running
    finally:
        end_processes(started, end_seconds)


def _await_ready(running: LocalRay, started: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if started.poll() is not None:
            break
        try:
            if httpx.get(f"{running.url}/health/ready", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"the service did not start on Ray:\n{running.log.read_text()[-4000:]}")


def end_processes(started: "subprocess.Popen[bytes]", seconds: float) -> None:
    """End Ray as Ctrl+C does, and then whatever of it is left.

    Args:
        started: the process that started Ray.
        seconds: how long that may take; 0: all is killed at once.
    """
    children: list[psutil.Process] = []
    if started.poll() is None:
        children = psutil.Process(started.pid).children(recursive=True)
        started.send_signal(signal.SIGINT if seconds else signal.SIGKILL)
        try:
            started.wait(seconds or None)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
    left = psutil.wait_procs(children, timeout=min(seconds, CHILDREN_SECONDS))[1]
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
