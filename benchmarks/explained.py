"""The cost of a loaded explainer for classification: compares a service that has explained with one that has not."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from benchmarks.cases import CASES, Case
from benchmarks.contenders import CACHE, foveal_command
from benchmarks.images import Body
from benchmarks.load import Generator, LoadRun
from benchmarks.models import REPOSITORY, repository_of
from benchmarks.server import Server, free_port, run_server
from benchmarks.statistics import Spread, spread

CLIENTS = 32
TURN_SECONDS = 5.0
SETTLE_SECONDS = 1.0
PLAIN, EXPLAINED = "plain", "explained"


def run_explained(rounds: int, generator: Generator, progress: Callable[[str], None]) -> Spread:
    """Return the throughput with a loaded explainer divided by the throughput without, over the rounds."""
    case = _classification()
    body = Body(case.image, CACHE / "bodies")
    shares = []
    with ExitStack() as stack:
        servers = {name: stack.enter_context(_service(name)) for name in (PLAIN, EXPLAINED)}
        image = body.file.read_bytes()
        answer = servers[EXPLAINED].ask(
            f"/v1/explain?view=cam&model={case.model}", image, body.content_type
        )
        if answer.status != 200:
            raise RuntimeError(f"the explanation failed: {answer.body.decode()}")
        for server in servers.values():
            _throughput(server, case, body, generator)  # warm
        for number in range(rounds):
            order = (PLAIN, EXPLAINED) if number % 2 else (EXPLAINED, PLAIN)
            found = {}
            for name in order:
                found[name] = _throughput(servers[name], case, body, generator)
                time.sleep(SETTLE_SECONDS)
            shares.append(found[EXPLAINED] / found[PLAIN])
            progress(
                f"  {found[PLAIN]:.1f} images/s without, {found[EXPLAINED]:.1f} with a loaded explainer"
            )
    return spread(shares)


def _classification() -> Case:
    """Return the case whose network is explained."""
    return next(
        case
        for case in CASES
        if repository_of(case.model) == REPOSITORY and case.model == "efficientnet-lite0"
    )


def _service(name: str) -> AbstractContextManager[Server]:
    port = free_port()
    return run_server(
        foveal_command(port),
        {"FOVEAL_MODELS": str(REPOSITORY)},
        port=port,
        probe=("/health/ready", None, ""),
        log=CACHE / "logs" / f"explained-{name}.log",
    )


def _throughput(server: Server, case: Case, body: Body, generator: Generator) -> float:
    url = server.url(case.path)
    run = LoadRun(url, body.file, body.content_type, CLIENTS, TURN_SECONDS, case.few_answers)
    outcome = generator.run(run)
    return outcome.answered / outcome.seconds
