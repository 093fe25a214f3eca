"""A servable → a warm network: its certificate checked, its graph held against the contract, its speed measured."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from service.card import (
    INPUT_NAME,
    OUTPUTS,
    TEMPORAL_INPUT_NAME,
    Card,
    CardError,
    check_certificate,
)
from service.errors import DeviceError, ServableError
from service.logs import LOGGER
from service.runtime.device import Device, SessionPlan, plan_session, plans_on_gpu
from service.runtime.io_binding import BoundSession, CaptureLock, Memory
from service.runtime.job import Run, Tensor
from service.runtime.repository import Servable
from service.runtime.session import Session, open_session
from service.runtime.tuning import HEAVY_SECONDS, best_batch, seconds_of, serves_all_at_once

log = logging.getLogger(LOGGER)

T = TypeVar("T")
U = TypeVar("U")

LARGEST = 32
"""The most images in a batch where neither the operator nor the card says otherwise."""
INSTANCES_ON_GPU = 2
"""Two batches in flight: one is copied while the other is computed."""
WORTH_SPREADING_SECONDS = 0.002
"""Below this, waking threads costs more than they save."""
WORTH_A_SESSION = 0.8
"""A second session must bring a lone image's time down to this share."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network ready to run.

    Each of `runs` serves a batch at a time; `wide`, where there is one, an image that has all cores to itself.
    """

    runs: tuple[Run, ...]
    largest: int
    blank: Tensor
    wide: Run | None = None


def load_model(
    servable: Servable,
    device: Device,
    *,
    largest: int,
    instances: int,
    threads: int,
    cache: Path,
    capture_lock: CaptureLock | None = None,
    graphs: bool = False,
) -> Loaded:
    """Return the network, warm; blocking.

    Args:
        servable: what to load.
        device: where it shall run.
        largest: images in a batch at most; 0 measures it on a CPU and is 32 on a GPU.
        instances: batches that may run at once; 0: one a thread on a processor, 2 on a GPU.
        threads: how many threads may be runnable at once.
        cache: folder for what a device compiles.
        capture_lock: what every run on a GPU passes; shared by all its networks.
        graphs: whether CUDA graphs may be captured.

    Raises:
        ServableError: the certificate or the graph does not hold.
        DeviceError: the network does not fully run on the device.
    """
    try:
        check_certificate(servable.path, servable.card)
    except CardError as error:
        raise ServableError(str(error)) from error
    limit = servable.card.max_batch or largest or LARGEST
    if device.is_gpu:
        lanes = _on_gpu(
            servable,
            device,
            limit=limit,
            instances=instances or INSTANCES_ON_GPU,
            cache=cache,
            capture_lock=capture_lock or CaptureLock(),
            graphs=graphs,
        )
        return Loaded(lanes, limit, lanes[0].blank)
    # An OpenVINO session serves all cores, a stream each; of ONNX Runtime's own each run brings its thread.
    streams = threads if device.name == "openvino" else 1
    plan = plan_session(device, largest=limit, threads=streams, cache=cache)
    session = _open(servable, device, plan)
    blank = blank_input(session, servable.card)
    if device.name == "cpu":
        return _tuned(
            servable,
            session.run,
            blank,
            limit=limit,
            largest=largest,
            instances=instances,
            threads=threads,
        )
    if not largest:
        alone = seconds_of(session.run, blank[None])
        limit = best_batch(session.run, blank, limit, alone=alone)
    return Loaded((session.run,) * (instances or threads), limit, blank)


def _on_gpu(
    servable: Servable,
    device: Device,
    *,
    limit: int,
    instances: int,
    cache: Path,
    capture_lock: CaptureLock,
    graphs: bool,
) -> tuple[BoundSession, ...]:
    """Open the network in the best way that it allows; captured graphs want a session each."""
    frame = servable.card.input
    inputs = {INPUT_NAME: (frame.height, frame.width, 3)} if frame else {}
    plans = plans_on_gpu(device, largest=limit, cache=cache, inputs=inputs, graphs=graphs)
    memory = Memory("cuda", device.index)

    def open_lanes(plan: SessionPlan) -> tuple[BoundSession, ...]:
        sessions = [_open(servable, device, plan)]
        blank = blank_input(sessions[0], servable.card)
        while len(sessions) < instances:
            sessions.append(_open(servable, device, plan) if plan.graphs else sessions[0])
        return tuple(BoundSession(session, blank, memory, capture_lock) for session in sessions)

    return first_allowed(plans, open_lanes, servable.name)


def first_allowed(plans: Sequence[T], open_as: Callable[[T], U], name: str) -> U:
    """Return what the first plan opens that the network allows; why others failed is logged.

    Raises:
        ServableError, DeviceError: none does; the last one's.
    """
    for plan in plans[:-1]:
        try:
            return open_as(plan)
        except (ServableError, DeviceError) as error:
            log.info("%s is served in a plainer way, since %s", name, error)
    return open_as(plans[-1])


def _open(servable: Servable, device: Device, plan: SessionPlan) -> Session:
    session = open_session(servable.path, device, plan)
    check_contract(session, servable.card, servable.path)
    return session


def _tuned(
    servable: Servable,
    narrow: Run,
    blank: Tensor,
    *,
    limit: int,
    largest: int,
    instances: int,
    threads: int,
) -> Loaded:
    """Find by measuring how a CPU serves the network best; docs/decisions/0005 says why.

    By default a run takes one thread, and as many run at once as there are threads. Where all threads on one run are
    about as fast as one run on each, they serve everybody: the memory of one run, and each answer sooner.
    """
    alone = seconds_of(narrow, blank[None])
    if not largest:
        limit = best_batch(narrow, blank, limit, alone=alone)
    if threads == 1 or alone < WORTH_SPREADING_SECONDS:
        return Loaded((narrow,) * (instances or threads), limit, blank)
    plan = plan_session(
        Device("cpu"),
        largest=1,
        threads=threads,
        cache=Path(),
        spin=alone <= HEAVY_SECONDS,  # a heavy network's wide runs may have others beside them
    )
    wide = open_session(servable.path, Device("cpu"), plan).run
    spread = seconds_of(wide, blank[None])
    if serves_all_at_once(alone=alone, spread=spread, threads=threads):
        return Loaded((wide,) * (instances or 1), limit, blank)
    return Loaded(
        (narrow,) * (instances or threads),
        limit,
        blank,
        wide if spread < WORTH_A_SESSION * alone else None,
    )


def blank_input(session: Session, card: Card) -> Tensor:
    """Return one input of zeros, without the batch axis: a black image, or a window of empty features."""
    if card.input is not None:
        return np.zeros((card.input.height, card.input.width, 3), np.uint8)
    shape = tuple(axis or 1 for axis in session.inputs[0].shape[1:])
    return np.zeros(shape, np.float32)


def check_contract(session: Session, card: Card, path: Path) -> None:
    """Hold the graph's inputs and outputs against what the card's task promises.

    Raises:
        ServableError: they differ; the message names the first difference.
    """
    wanted_name = INPUT_NAME if card.input is not None else TEMPORAL_INPUT_NAME
    wanted_type = "tensor(uint8)" if card.input is not None else "tensor(float)"
    names = [given.name for given in session.inputs]
    if names != [wanted_name]:
        raise ServableError(
            f"{path}: the graph's inputs are {names}, the contract wants [{wanted_name!r}]."
        )
    given = session.inputs[0]
    if given.dtype != wanted_type:
        raise ServableError(
            f"{path}: input {given.name} is {given.dtype}, the contract wants {wanted_type}."
        )
    if card.input is not None:
        _check_image_shape(given.shape, card, path)
    else:
        _check_window_shape(given.shape, card, path)
    missing = [name for name in OUTPUTS[card.task] if name not in {o.name for o in session.outputs}]
    if missing:
        raise ServableError(f"{path}: a {card.task} graph lacks the outputs {missing}.")


def _check_window_shape(shape: tuple[int | None, ...], card: Card, path: Path) -> None:
    frames = card.window.frames if card.window else None
    if len(shape) != 3 or shape[1] != frames or shape[2] is None:
        raise ServableError(
            f"{path}: input {TEMPORAL_INPUT_NAME} has the shape {shape}, the card says (None, {frames}, features)."
        )


def _check_image_shape(shape: tuple[int | None, ...], card: Card, path: Path) -> None:
    wanted = (None, card.image_input.height, card.image_input.width, 3)
    if shape != wanted and not (card.max_batch == 1 and shape == (1, *wanted[1:])):
        raise ServableError(
            f"{path}: input {INPUT_NAME} has the shape {shape}, the card says {wanted} with a dynamic batch axis."
        )
