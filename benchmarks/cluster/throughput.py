"""Images per second of processor time: the service in one process beside the same on a local Ray."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster.clients import clients
from benchmarks.cluster.local_ray import local_ray
from benchmarks.contenders import foveal_command
from benchmarks.server import free_port, run_server
from benchmarks.usage import Tree

ALONE, RAY = "foveal serve", "Ray Serve"
WARM_UP_SECONDS = 5.0
PATH = "/v1/classify"


@dataclass(frozen=True)
class Turn:
    """One measurement of one of both.

    Attributes:
        images_per_second: that were answered.
        images_per_core_second: for each second that a core worked for the service, without the clients.
        p50_ms, p99_ms: from a request to its answer.
    """

    images_per_second: float
    images_per_core_second: float
    p50_ms: float
    p99_ms: float


def compare(
    *,
    seconds: float,
    rounds: int,
    count: int,
    models: Path,
    body: bytes,
    folder: Path,
    progress: Callable[[str], None],
) -> dict[str, list[Turn]]:
    """Measure both by turns, each with so many clients."""
    found: dict[str, list[Turn]] = {ALONE: [], RAY: []}
    environment = {"FOVEAL_MODELS": str(models), "FOVEAL_CACHE": str(folder / "cache")}
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(rounds):
        for name, running in (
            (ALONE, _alone(environment, folder, body)),
            (RAY, _on_ray(environment, folder)),
        ):
            with running as (url, tree):
                turn = _measure(url, tree, body, count, seconds)
            found[name].append(turn)
            progress(f"{name}, {count} clients: {turn}")
    return found


@contextmanager
def _alone(environment: dict[str, str], folder: Path, body: bytes) -> Iterator[tuple[str, Tree]]:
    port = free_port()
    with run_server(
        foveal_command(port),
        environment,
        port=port,
        probe=(PATH, body, "application/octet-stream"),
        log=folder / "alone.log",
    ) as server:
        yield server.url(""), server.tree


@contextmanager
def _on_ray(environment: dict[str, str], folder: Path) -> Iterator[tuple[str, Tree]]:
    """As many replicas of the model as there are cores, and one of the ingress."""
    replicas = {"min_replicas": 2, "max_replicas": 2, "max_ingress": 1}
    with local_ray(folder, environment=environment, arguments=replicas) as ray:
        yield ray.url, Tree(ray.process.pid)


def _measure(url: str, tree: Tree, body: bytes, count: int, seconds: float) -> Turn:
    with clients(url + PATH, body, count):
        time.sleep(WARM_UP_SECONDS)
    began, used = time.perf_counter(), tree.cpu_seconds()
    with clients(url + PATH, body, count) as tally:
        time.sleep(seconds)
    used = tree.cpu_seconds() - used
    assert not tally.failures, tally.failures
    return Turn(
        round(tally.answers / (time.perf_counter() - began), 2),
        round(tally.answers / used, 2),
        round(tally.quantile_ms(0.5), 1),
        round(tally.quantile_ms(0.99), 1),
    )
