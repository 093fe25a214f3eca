"""Starts the contenders of a case; the result says which did not start, and why."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import contenders, tuning
from benchmarks.agreement import measure_agreement
from benchmarks.contenders import (
    CACHE,
    ECHO,
    FOVEAL,
    FOVEAL_FAST,
    FOVEAL_IN_PROCESSES,
    FOVEAL_ON_CPU,
    LIMIT,
    LIMIT_ONE_BY_ONE,
    LIMIT_UNDECODED,
    PEERS,
    ROOT,
    Peer,
    with_int8_file,
)
from benchmarks.environments import InstallError
from benchmarks.models import FAST_REPOSITORY, ExportError, repository_of
from benchmarks.plan import GPU_DEVICES, Plan
from benchmarks.results import CaseResult, Facts
from benchmarks.server import START_SECONDS as PATIENCE_SECONDS
from benchmarks.server import Server, StartError, free_port, run_server
from benchmarks.subject import Subject, in_int8
from benchmarks.time_left import STARTING, TimeLeft, start_kind
from benchmarks.turns import Contender, Limit, Served, run_limit

ENGINE_SECONDS = 1800.0
"""At the first start TensorRT builds its engines, which takes minutes."""
GPU_BATCHES = (1, 8, 16, 32, 64)
_SERVED = re.compile(r"^foveal_model_info\{([^}]*)\} 1", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CLASS = re.compile(rb'"class_id":\s*(\d+)')


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts the contenders of a case on an exit stack, and puts their facts into the result."""

    plan: Plan
    subject: Subject
    result: CaseResult
    stack: ExitStack
    left: TimeLeft

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
            running |= self._peers()
        exact = running.get(FOVEAL)
        if self.subject.case.fast and isinstance(exact, Served):
            running |= self._try(FOVEAL_FAST, partial(self._fast, exact=exact.server))
            running |= replace(self, subject=in_int8(self.subject)).start_others_in_int8()
        return running

    def start_others_in_int8(self) -> dict[str, Contender]:
        """Start the limit and the peers with the file of the variant, which is the subject's."""
        labels = {"device": "cpu", "precision": "int8"}
        limit = partial(self._limit, labels, self.subject.body.images)
        return self._try(with_int8_file(LIMIT), limit) | (self._peers() if self.plan.peers else {})

    def _peers(self) -> dict[str, Contender]:
        running: dict[str, Contender] = {}
        for peer in PEERS:
            if peer.name in self.subject.case.peers:
                name = with_int8_file(peer.name) if self.subject.in_int8 else peer.name
                running |= self._try(name, partial(self._peer, peer=peer))
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
        if False in wanted and case.undecoded:
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
        before = self.result.facts.get(name, Facts())
        facts = Facts(peak_memory_mib=before.peak_memory_mib)
        self.result.facts[name] = facts
        self.plan.progress(f"  starting {name}")
        kind = start_kind(name, self.subject.case, self.plan, set())
        began = time.perf_counter()
        try:
            contender = start(facts)
            if isinstance(contender, Served):
                contender.learn_idle()
            return {name: contender}
        except (StartError, InstallError, ExportError) as error:
            facts.error = str(error)
            self.plan.progress(f"  {name} does not run: {error}")
            return {}
        finally:
            self.left.did(kind, STARTING[kind], time.perf_counter() - began)

    def _foveal(self, facts: Facts, *, device: str | None = None, workers: int = 1) -> Served:
        case = self.subject.case
        environment = {
            "FOVEAL_MODELS": str(repository_of(case.model, fast=case.fast)),
            "FOVEAL_WORKERS": str(workers),
            **({"FOVEAL_DEVICE": device} if device else {}),
        }
        patience = ENGINE_SECONDS if device == "tensorrt" else PATIENCE_SECONDS
        name = f"foveal-{device or 'auto'}-{workers}"
        served = self._serve(facts, environment, name, patience)
        if workers > 1:
            facts.detail += f", {workers} workers"
        return served

    def _fast(self, facts: Facts, *, exact: Server) -> Served:
        """Start the service in `fast`; it measures anew, as the last choice may have been disturbed."""
        cache = self.stack.enter_context(TemporaryDirectory())
        environment = {
            "FOVEAL_MODELS": str(FAST_REPOSITORY),
            "FOVEAL_PRECISION": "fast",
            "FOVEAL_CACHE": cache,
        }
        served = self._serve(facts, environment, "foveal-fast", PATIENCE_SECONDS)
        shown = served.server.ask(f"/v1/models/{self.subject.case.model}").json()
        facts.tried = {
            f"{way['device']} {way['precision']}, the network on one thread": round(1e3 / took, 1)
            for way in shown["models"][0]["choice"]["ways"]
            if (took := way["milliseconds"])
        }
        facts.agreement = measure_agreement(exact, served.server, served.path)
        return served

    def _serve(
        self, facts: Facts, environment: Mapping[str, str], name: str, patience_seconds: float
    ) -> Served:
        port = free_port()
        case, body = self.subject.case, self.subject.body
        server = self.stack.enter_context(
            run_server(
                contenders.foveal_command(port),
                environment,
                port=port,
                probe=("/health/ready", None, ""),
                log=self.subject.log(name),
                patience_seconds=patience_seconds,
            )
        )
        labels = served_model(server, case.model)
        answer = server.ask(case.path, body.content, body.content_type)
        if answer.status != 200:
            raise StartError(f"answered {answer.status}: {answer.body[:200]!r}")
        facts.ready_seconds = round(server.ready_seconds, 3)
        facts.detail = f"{labels['device']} {labels['precision']}"
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
        limit = self.stack.enter_context(run_limit())
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
