"""Measures a case: starts all contenders, then in each round gives each one a turn under the same load."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmarks import contenders, tuning
from benchmarks.cases import Case, Load
from benchmarks.contenders import (
    CACHE,
    ECHO,
    FOVEAL,
    FOVEAL_IN_PROCESSES,
    FOVEAL_ON_CPU,
    LIMIT,
    LIMIT_ONE_BY_ONE,
    LIMIT_UNDECODED,
    PEERS,
    ROOT,
    Peer,
)
from benchmarks.environments import InstallError
from benchmarks.load import Generator
from benchmarks.models import repository_of
from benchmarks.results import CaseResult, Facts
from benchmarks.server import START_SECONDS, Server, StartError, free_port, run_server
from benchmarks.statistics import Sample
from benchmarks.subject import Subject, make_subject
from benchmarks.usage import CpuMeter, MemoryWatch, Tree

WARM_SECONDS = 1.0
SETTLE_SECONDS = 30.0
ENGINE_SECONDS = 1800.0
"""At the first start TensorRT builds its engines, which takes minutes."""
GPU_DEVICES = ("cuda", "tensorrt")
GPU_BATCHES = (1, 8, 16, 32, 64)
MIB = 2**20
_SERVED = re.compile(r"^foveal_model_info\{([^}]*)\} 1", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CLASS = re.compile(rb'"class_id":\s*(\d+)')

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a run. `shorten` is a factor on the seconds of every case."""

    generator: Generator
    cores: int
    rounds: int
    shorten: float
    quick: bool
    peers: bool
    devices: tuple[str, ...]
    """The devices of the service, one contender per device; empty: the default device."""
    retune: bool
    progress: Progress

    def loads(self, case: Case) -> Sequence[Load]:
        quick = [load for load in case.loads if load.quick]
        return quick if self.quick and quick else case.loads


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


def run_case(case: Case, plan: Plan) -> CaseResult:
    """Start all contenders, measure them in rounds, end them.

    Raises:
        ExportError: the export of the case's network failed.
    """
    result = CaseResult(case.name)
    subject = make_subject(case, plan.generator, plan.cores)
    with ExitStack() as stack:
        running = _Starter(plan, subject, result, stack).start_all()
        for load in plan.loads(case):
            chosen = {name: running[name] for name in _names(load, running)}
            if not chosen:
                continue
            for contender in chosen.values():
                contender.measure(load.clients, WARM_SECONDS)
            result.rounds[load.clients] = [
                _round(case, plan, load, chosen, number) for number in range(plan.rounds)
            ]
    return result


def _round(
    case: Case, plan: Plan, load: Load, chosen: Mapping[str, Contender], number: int
) -> dict[str, Sample]:
    """Measure each contender once, in an order that shifts from round to round."""
    names = list(chosen)
    start = number * max(1, len(names) // plan.rounds) % len(names)
    samples = {}
    for name in (*names[start:], *names[:start]):
        sample = chosen[name].measure(load.clients, case.seconds * plan.shorten)
        samples[name] = sample
        latency = f", p50 {sample.p50_ms:.1f} ms" if sample.p50_ms else ""
        errors = f", {sample.errors} errors" if sample.errors else ""
        plan.progress(
            f"  {case.name}, {load.clients} clients, round {number + 1}: {name} "
            f"{sample.images_per_second:.1f} images/s{latency}{errors}"
        )
    return samples


def _names(load: Load, running: Mapping[str, Contender]) -> list[str]:
    """Return the contenders of a load: the service, the limit for its number of clients, and its peers."""

    def takes_part(name: str) -> bool:
        if name.startswith(FOVEAL):
            return True
        if name.startswith(LIMIT):
            return load.limit and name.startswith(LIMIT_ONE_BY_ONE) == (load.clients == 1)
        return load.peers and (name != ECHO or load.clients > 1)

    return [name for name in running if takes_part(name)]


@dataclass(frozen=True, slots=True)
class _Starter:
    """Starts the contenders of a case on an exit stack; the result says which did not start, and why."""

    plan: Plan
    subject: Subject
    result: CaseResult
    stack: ExitStack

    def start_all(self) -> dict[str, Contender]:
        running: dict[str, Contender] = {}
        loads = self.plan.loads(self.subject.case)
        for device in self.plan.devices or (None,):
            name = contenders.on_device(FOVEAL, device)
            started = self._try(name, partial(self._foveal, device=device))
            running |= started
            for contender in started.values():
                running |= self._limits(contender, device)
        if self.subject.case.workers and not self.plan.devices:
            workers = partial(self._foveal, workers=self.plan.cores)
            running |= self._try(FOVEAL_IN_PROCESSES, workers)
        if self.subject.case.echo:
            running |= self._try(ECHO, self._echo)
        if self.plan.peers and any(load.peers for load in loads):
            for peer in PEERS:
                running |= self._try(peer.name, partial(self._peer, peer=peer))
        return running

    def _limits(self, foveal: Contender, device: str | None) -> dict[str, Contender]:
        """Start the limits with the service's device and precision, and the service on plain CPU if that differs."""
        assert isinstance(foveal, Served)
        case = self.subject.case
        labels = served_model(foveal.server, case.model)
        loads = self.plan.loads(case)
        wanted = {load.clients == 1 for load in loads if load.limit}
        found: dict[str, Contender] = {}
        if not device and labels["device"] != "cpu" and any(load.peers for load in loads):
            found |= self._try(FOVEAL_ON_CPU, partial(self._foveal, device="cpu"))
        images = self.subject.body.images
        if False in wanted:
            found |= self._try(
                contenders.on_device(LIMIT, device), partial(self._limit, labels, images)
            )
            found |= self._try(
                contenders.on_device(LIMIT_UNDECODED, device), partial(self._limit, labels, ())
            )
        if True in wanted:
            found |= self._try(
                contenders.on_device(LIMIT_ONE_BY_ONE, device),
                partial(self._limit, labels, images, alone=True),
            )
        return found

    def _try(self, name: str, start: Callable[[Facts], Contender]) -> dict[str, Contender]:
        facts = self.result.facts[name] = Facts()
        self.plan.progress(f"  starting {name}")
        try:
            contender = start(facts)
            if isinstance(contender, Served):
                contender.learn_idle()
            return {name: contender}
        except (StartError, InstallError) as error:
            facts.error = str(error)
            self.plan.progress(f"  {name} does not run: {error}")
            return {}

    def _foveal(self, facts: Facts, *, device: str | None = None, workers: int = 1) -> Served:
        port = free_port()
        case, body = self.subject.case, self.subject.body
        environment = {
            "FOVEAL_MODELS": str(repository_of(case.model)),
            "FOVEAL_WORKERS": str(workers),
            **({"FOVEAL_DEVICE": device} if device else {}),
        }
        server = self.stack.enter_context(
            run_server(
                contenders.foveal_command(port),
                environment,
                port=port,
                probe=("/health/ready", None, ""),
                log=self.subject.log(f"foveal-{device or 'auto'}-{workers}"),
                patience_seconds=ENGINE_SECONDS if device == "tensorrt" else START_SECONDS,
            )
        )
        labels = served_model(server, case.model)
        answer = server.ask(case.path, body.content, body.content_type)
        if answer.status != 200:
            raise StartError(f"answered {answer.status}: {answer.body[:200]!r}")
        facts.ready_seconds = round(server.ready_seconds, 3)
        several = f", {workers} workers" if workers > 1 else ""
        facts.detail = f"{labels['device']} {labels['precision']}{several}"
        facts.top_class = _top_class(answer.body)
        return Served(server, facts, self.subject, case.path)

    def _echo(self, facts: Facts) -> Served:
        port = free_port()
        body = self.subject.body
        server = self.stack.enter_context(
            run_server(
                contenders.echo_command(port),
                {},
                port=port,
                probe=("/", body.content, body.content_type),
                log=self.subject.log("echo"),
                folder=ROOT,
            )
        )
        facts.ready_seconds = round(server.ready_seconds, 3)
        return Served(server, facts, self.subject, "/")

    def _peer(self, facts: Facts, *, peer: Peer) -> Served:
        plan, body = self.plan, self.subject.body
        best = tuning.best_setting(
            peer, self.subject, sweep=not plan.quick, again=plan.retune, progress=plan.progress
        )
        facts.detail = f"{best.version}, {best.setting}" + ("" if best.tried else ", not tuned")
        facts.tried = best.tried
        server = self.stack.enter_context(tuning.run_peer(peer, best.setting, self.subject))
        facts.ready_seconds = round(server.ready_seconds, 3)
        facts.top_class = _top_class(server.ask(peer.path, body.content, body.content_type).body)
        return Served(server, facts, self.subject, peer.path)

    def _limit(
        self,
        labels: Mapping[str, str],
        images: Sequence[bytes],
        facts: Facts,
        *,
        alone: bool = False,
    ) -> Limit:
        limit = self.stack.enter_context(_run_limit())
        ready = limit.ask(
            {
                "model": str(self.subject.model),
                "images": [str(file) for file in self._as_files(images)],
                "device": labels["device"],
                "precision": labels["precision"],
                "cores": self.plan.cores,
                "sizes": GPU_BATCHES
                if labels["device"] in GPU_DEVICES
                else self.subject.case.batches,
                "alone": alone,
            }
        )
        facts.detail, facts.tried = ready["ready"], ready.get("tried", {})
        return limit

    def _as_files(self, images: Sequence[bytes]) -> Iterator[Path]:
        for index, image in enumerate(images):
            file = CACHE / "bodies" / f"{self.subject.case.name}-{index}.image"
            file.write_bytes(image)
            yield file


@contextmanager
def _run_limit() -> Iterator[Limit]:
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


def served_model(server: Server, model: str) -> dict[str, str]:
    """Return the labels of `foveal_model_info` for a model, with its device and its precision.

    Raises:
        StartError: the model is not served.
    """
    for found in _SERVED.findall(server.ask("/metrics").body.decode()):
        labels = dict(_LABEL.findall(found))
        if labels["model"] == model:
            return labels
    raise StartError(f"{model} is not served")


def _top_class(answer: bytes) -> int | None:
    found = _CLASS.search(answer)
    return int(found[1]) if found else None
