"""The cost of isolated decoding: compares a service that decodes in processes with one that decodes in its threads."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.cases import CASES, Case
from benchmarks.contenders import CACHE, foveal_command
from benchmarks.images import Body
from benchmarks.load import Generator, LoadRun
from benchmarks.models import REPOSITORY
from benchmarks.server import Server, free_port, run_server
from benchmarks.statistics import Spread, spread

NAMES = ("lenet", "efficientnet-640")
CLIENTS = (1, 32)
TURN_SECONDS = 2.0
SETTLE_SECONDS = 0.5
THREADS, ISOLATED = "threads", "isolated"


@dataclass(frozen=True, slots=True)
class IsolationCost:
    """What isolation costs a case at a number of clients; each is isolated divided by threads."""

    title: str
    clients: int
    throughput: Spread
    latency: Spread
    cpu: Spread


@dataclass(frozen=True, slots=True)
class _Turn:
    images_per_second: float
    p50_ms: float
    cpu_ms: float


def run_isolated(
    rounds: int, generator: Generator, progress: Callable[[str], None]
) -> Iterator[IsolationCost]:
    """Yield what isolation costs each case, over the rounds."""
    with ExitStack() as stack:
        servers = {
            way: stack.enter_context(
                run_server(
                    foveal_command(port := free_port()),
                    {"FOVEAL_MODELS": str(REPOSITORY), "FOVEAL_DECODE": way},
                    port=port,
                    probe=("/health/ready", None, ""),
                    log=CACHE / "logs" / f"decode-{way}.log",
                )
            )
            for way in (THREADS, ISOLATED)
        }
        for case in (case for case in CASES if case.name in NAMES):
            body = Body(case.image, CACHE / "bodies")
            for server in servers.values():
                _turn(server, case, body, CLIENTS[-1], generator)  # warm
            for clients in CLIENTS:
                turns = []
                for number in range(rounds):
                    order = (THREADS, ISOLATED) if number % 2 else (ISOLATED, THREADS)
                    turns.append(
                        {way: _turn(servers[way], case, body, clients, generator) for way in order}
                    )
                    progress(f"  {clients} clients: {turns[-1]}")
                yield _cost(case.title, clients, turns)


def _turn(server: Server, case: Case, body: Body, clients: int, generator: Generator) -> _Turn:
    time.sleep(SETTLE_SECONDS)
    before = server.tree.cpu_seconds()
    found = generator.run(
        LoadRun(server.url(case.path), body.file, body.content_type, clients, TURN_SECONDS)
    )
    spent = server.tree.cpu_seconds() - before
    return _Turn(found.answered / found.seconds, found.p50_ms, spent * 1e3 / found.answered)


def _cost(title: str, clients: int, turns: list[dict[str, _Turn]]) -> IsolationCost:
    def ratio(value: Callable[[_Turn], float]) -> Spread:
        return spread([value(turn[ISOLATED]) / value(turn[THREADS]) for turn in turns])

    return IsolationCost(
        title,
        clients,
        ratio(lambda turn: turn.images_per_second),
        ratio(lambda turn: turn.p50_ms),
        ratio(lambda turn: turn.cpu_ms),
    )
