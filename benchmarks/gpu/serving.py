"""The real server on a real socket under load, and beside it the server that most people write with PyTorch."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.gpu.card import CardWatch
from benchmarks.gpu.load import Load, send
from benchmarks.gpu.networks import Network, half_servable, network
from benchmarks.gpu.order import Order, Report, verdict
from benchmarks.gpu.photographs import request_body
from benchmarks.gpu.processes import cpu_seconds
from benchmarks.gpu.stages import read_sums, spent

HOST = "127.0.0.1"
CLIENTS = (1, 32, 128, 512)
"""Ascending: what a slow server still owes to many clients would delay the answers to a few."""
SECONDS, LEAST_SECONDS = 6.0, 0.5
WARM_SHARE = 0.25
LOAD_SHARE, GRACE_SHARE = 0.5, 0.3
"""Of the time for a number of clients; the load has its warm time before it."""
START_SHARE = 0.85
"""Of a step's time, for the start of the server: without it nothing is measured."""
QUEUE = 1024
"""512 clients need a longer queue than the default, which is 256."""
WORKERS = 4
POLL_SECONDS = 0.1
ANSWER_SECONDS = 30.0
GRACE_SECONDS = 5.0


class StartError(Exception):
    """A server did not start; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: what it answers at `path`, and what states its metrics, if anything does."""

    port: int
    pid: int
    path: str
    model: str
    metrics: bool


def serve(order: Order, report: Report) -> None:
    """Measure the service with a network as it is."""
    _serve(order, report, network(order.arguments["model"], order.out))


def serve_half(order: Order, report: Report) -> None:
    """Measure the service with the network in fp16."""
    _serve(order, report, half_servable(network(order.arguments["model"], order.out), order.out))


def serve_workers(order: Order, report: Report) -> None:
    """Measure several processes on the one device: each has the weights, and the graphs, for itself."""
    one = network(order.arguments["model"], order.out)
    _serve(order, report, one, {"FOVEAL_WORKERS": str(WORKERS)})


def serve_fast(order: Order, report: Report) -> None:
    """Measure the service when it chooses the precision by measuring."""
    one = network(order.arguments["model"], order.out)
    _serve(order, report, one, {"FOVEAL_PRECISION": "fast"})


def _serve(
    order: Order, report: Report, one: Network, more: Mapping[str, str] = MappingProxyType({})
) -> None:
    settings = {
        "FOVEAL_MODELS": str(_repository(one, order.out)),
        "FOVEAL_DEVICE": order.device,
        "FOVEAL_CACHE": str(order.out / "cache"),
        "FOVEAL_QUEUE_SIZE": str(QUEUE),
        "FOVEAL_LOG_LEVEL": "info",
        **more,
    }
    report({"settings": settings})
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    log = order.out / "logs" / f"server-{'-'.join((one.name, *more.values()))}.log"
    patience = order.left(START_SHARE)
    with running(command, settings, port, ready="/health/ready", log=log, patience=patience) as (
        pid,
        seconds,
    ):
        report({"ready_seconds": round(seconds, 2)})
        found = model_state(port, one.name)
        report({"model": found})
        holds = None if order.stand_in else found["device"] == "cuda"
        because = f"the device in /v1/models/{one.name} is {found['device']}"
        report(verdict("the service runs on the GPU", holds=holds, because=because))
        path = f"/v1/classify?model={one.name}"
        _measure(Served(port, pid, path, one.name, metrics=True), order, report)


def serve_naive(order: Order, report: Report) -> None:
    """Measure a FastAPI server that runs the same kind of network by PyTorch in its handler."""
    port, model = free_port(), order.arguments["model"]
    command = [
        *(sys.executable, "-m", "benchmarks.gpu.naive_torch"),
        *(str(port), model, "cpu" if order.stand_in else "cuda"),
    ]
    log, patience = order.out / "logs" / f"naive-{model}.log", order.left(START_SHARE)
    with running(command, {}, port, ready="/ready", log=log, patience=patience) as (pid, seconds):
        report({"ready_seconds": round(seconds, 2)})
        _measure(Served(port, pid, "/predict", model, metrics=False), order, report)


def _measure(served: Served, order: Order, report: Report) -> None:
    body = order.out / "request.jpg"
    body.write_bytes(request_body())
    wrong = 0
    for index, clients in enumerate(CLIENTS):
        turn = order.left(1 / (len(CLIENTS) - index))
        seconds = min(SECONDS, LOAD_SHARE * turn)
        if seconds < LEAST_SECONDS:
            report({"clients": {str(clients): {"not_measured": "the time was over"}}})
            continue
        load = Load(
            HOST,
            served.port,
            served.path,
            str(body),
            "image/jpeg",
            clients,
            seconds,
            warm_seconds=seconds * WARM_SHARE,
            grace_seconds=min(GRACE_SECONDS, GRACE_SHARE * turn),
        )
        found = under(load, served)
        wrong += sum(found["statuses"].values()) - found["statuses"].get("200", 0)
        wrong += found["broken"] + found["refused"]
        report({"clients": {str(clients): found}})
    # A slow server still owes answers when the time is over; these are shown, and are not wrong.
    name = "every answer has the status 200"
    report(verdict(name, holds=not wrong, because=f"{wrong} had not, or did not come whole"))


def under(load: Load, served: Served) -> dict[str, Any]:
    """Return the figures of a load, with what the server and the card did meanwhile."""
    before = read_sums(ask(served.port, "/metrics"), served.model) if served.metrics else None
    cpu, began = cpu_seconds(served.pid), time.monotonic()
    with CardWatch() as watch:
        count = send(load)
    elapsed = time.monotonic() - began
    found = count.summary()
    found["seconds"] = round(load.seconds, 2)
    found["server_cores"] = round((cpu_seconds(served.pid) - cpu) / elapsed, 2)
    found["card"] = watch.means()
    if before is not None:
        after = read_sums(ask(served.port, "/metrics"), served.model)
        found |= spent(before, after, elapsed)
    return found


def model_state(port: int, model: str) -> dict[str, Any]:
    """Return what the service says of a model: its state, device, largest batch and precision."""
    (found,) = json.loads(ask(port, f"/v1/models/{model}"))["models"]
    facts = {name: found[name] for name in ("state", "device", "largest_batch")}
    return {**facts, "precision": found["precision"], "choice": found["choice"]}


def _repository(one: Network, out: Path) -> Path:
    """Return a folder of models in which the network is the only one, so that the service starts soon."""
    folder = out / "serving" / one.name
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / one.name
    if not link.exists():
        link.symlink_to(one.path.parents[1].absolute(), target_is_directory=True)
    return folder


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str],
    settings: Mapping[str, str],
    port: int,
    *,
    ready: str,
    log: Path,
    patience: float,
) -> Iterator[tuple[int, float]]:
    """Start a server, and yield its process id and the seconds until it was ready; end it after the block.

    It stays in the process group of the step, so that it also ends when the step is killed.

    Raises:
        StartError: it ended, or was not ready in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while not _is_ready(port, ready):
            if process.poll() is not None or time.monotonic() - began > patience:
                how = (
                    f"ended with {process.returncode}" if process.poll() is not None else "is late"
                )
                raise StartError(f"{' '.join(command[1:4])} {how}: {_end_of(log)}")
            time.sleep(POLL_SECONDS)
        yield process.pid, time.monotonic() - began
    finally:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(port: int, path: str) -> bool:
    try:
        ask(port, path)
    except (OSError, http.client.HTTPException):
        return False
    return True


def ask(port: int, path: str) -> str:
    """Return the body of an answer with status 200.

    Raises:
        OSError, http.client.HTTPException: there is no answer, or one with another status.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise http.client.HTTPException(f"{path} was answered with {response.status}")
        return text
    finally:
        connection.close()


def _end_of(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-4:])[-600:]
