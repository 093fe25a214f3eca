"""Ten minutes of load on a local Ray, while its replicas are killed one after the other: is every request answered?"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.cluster.clients import Tally, clients
from benchmarks.cluster.local_ray import LocalRay, local_ray
from benchmarks.usage import Tree

KILLED = ("model", "ingress", "model", "ingress", "coordinator", "controller")
"""In this order, without end. The controller is Ray Serve's own."""
SCRAPE_SECONDS = 5.0
CLIENTS = 8


@dataclass(frozen=True)
class Soak:
    """What happened.

    Attributes:
        seconds: how long the load lasted.
        answers: requests that were answered with a result.
        failures: the others, by status or by what the connection did.
        kills: replicas that were killed, by kind.
        p50_ms, p99_ms, longest_ms: from a request to its answer, as a client sees it.
        fell: how often the count of answered images was lower in a scrape than in the one before.
        unread_scrapes: scrapes that were answered with an error, while the coordinator was replaced.
        memory_mib: of all processes, after the start and at the end.
    """

    seconds: float
    answers: int
    failures: dict[str, int]
    kills: dict[str, int]
    p50_ms: float
    p99_ms: float
    longest_ms: float
    fell: int
    unread_scrapes: int
    memory_mib: tuple[float, float]

    @property
    def problems(self) -> list[str]:
        """What must not happen."""
        found = [f"{count} requests: {what}" for what, count in self.failures.items()]
        return found + ([f"the counters fell {self.fell} times"] if self.fell else [])


@dataclass
class _Scrapes:
    """Reads one counter again and again."""

    ray: LocalRay
    last: float = 0.0
    fell: int = 0
    unread: int = 0

    def scrape(self) -> None:
        try:
            found = self.ray.sample("foveal_images_total", outcome="answered")
        except httpx.HTTPError:
            self.unread += 1
            return
        self.fell += found < self.last
        self.last = found


def run_soak(
    seconds: float,
    kill_seconds: float,
    *,
    models: Path,
    body: bytes,
    folder: Path,
    progress: Callable[[str], None],
) -> Soak:
    """Kill a replica every `kill_seconds` under the load of `CLIENTS` clients."""
    environment = {"FOVEAL_MODELS": str(models), "FOVEAL_CACHE": str(folder / "cache")}
    replicas = {"min_replicas": 2, "max_replicas": 2, "min_ingress": 2, "max_ingress": 2}
    folder.mkdir(parents=True, exist_ok=True)
    with local_ray(folder, environment=environment, arguments=replicas) as ray:
        tree = Tree(ray.process.pid)
        before = tree.memory_bytes() / 2**20
        scrapes, kills = _Scrapes(ray), dict.fromkeys(KILLED, 0)
        order = itertools.cycle(KILLED)
        began = time.monotonic()
        next_kill = began + kill_seconds
        with clients(f"{ray.url}/v1/classify", body, CLIENTS) as tally:
            while (now := time.monotonic()) < began + seconds:
                if now >= next_kill:
                    ray.kill(kind := next(order))
                    kills[kind] += 1
                    next_kill += kill_seconds
                    progress(_line(now - began, tally, kills))
                scrapes.scrape()
                time.sleep(SCRAPE_SECONDS)
        return Soak(
            seconds=round(time.monotonic() - began, 1),
            answers=tally.answers,
            failures=tally.failures,
            kills=kills,
            p50_ms=round(tally.quantile_ms(0.5), 1),
            p99_ms=round(tally.quantile_ms(0.99), 1),
            longest_ms=round(tally.quantile_ms(1), 1),
            fell=scrapes.fell,
            unread_scrapes=scrapes.unread,
            memory_mib=(round(before), round(tree.memory_bytes() / 2**20)),
        )


def _line(seconds: float, tally: Tally, kills: dict[str, int]) -> str:
    killed = ", ".join(f"{count} × {kind}" for kind, count in kills.items())
    return f"{seconds:5.0f} s: {tally.answers} answered, {tally.failures or 'none'} failed; killed {killed}"
