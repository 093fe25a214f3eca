"""A servable → a warm network: its certificate checked, its graph held against the contract, its speed measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.card import (
    INPUT_NAME,
    OUTPUTS,
    TEMPORAL_INPUT_NAME,
    Card,
    CardError,
    check_certificate,
)
from service.errors import ServableError
from service.runtime.batcher import Run, Tensor
from service.runtime.device import Device, plan_session
from service.runtime.repository import Servable
from service.runtime.session import Session, open_session
from service.runtime.tuning import best_batch, seconds_of

LARGEST_ON_CPU, LARGEST_ON_GPU = 32, 32
WORTH_SPREADING_SECONDS = 0.002
"""Below this, waking threads costs more than they save."""
WORTH_A_SESSION = 0.8
"""A second session must bring a lone picture's time down to this share."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network ready to run: `run` for batches, `wide` for a picture that has all cores to itself."""

    run: Run
    largest: int
    blank: Tensor
    wide: Run | None = None


def load_model(
    servable: Servable, device: Device, *, largest: int, threads: int, cache: Path
) -> Loaded:
    """Return the network, warm; blocking.

    On a CPU a batch runs on one thread, and as many batches at once as there are threads: for small networks that gives
    the most pictures a second. Two things are measured because they depend on network and machine: the largest batch
    that does not cost more a picture, and whether one picture on all threads is faster.

    Args:
        servable: what to load.
        device: where it shall run.
        largest: pictures in a batch at most; 0 measures it on a CPU and is 32 on a GPU.
        threads: how many threads may be runnable at once.
        cache: folder for what a device compiles.

    Raises:
        ServableError: the certificate or the graph does not hold.
        DeviceError: the network does not fully run on the device.
    """
    try:
        check_certificate(servable.path, servable.card)
    except CardError as error:
        raise ServableError(str(error)) from error
    limit = (
        servable.card.max_batch or largest or (LARGEST_ON_GPU if device.is_gpu else LARGEST_ON_CPU)
    )
    plan = plan_session(device, largest=limit, threads=1, cache=cache)
    session = open_session(servable.path, device, plan)
    check_contract(session, servable.card, servable.path)
    blank = blank_input(session, servable.card)
    for size in reversed(plan.batch_sizes or (1,)):  # largest first: the arena grows once
        session.run(np.repeat(blank[None], size, axis=0))
    if device.name != "cpu":
        return Loaded(session.run, limit, blank)
    if not largest:
        limit = best_batch(session.run, blank, limit)
    return Loaded(session.run, limit, blank, _wide_run(servable, session.run, blank, threads))


def _wide_run(servable: Servable, narrow: Run, blank: Tensor, threads: int) -> Run | None:
    """Return what runs on a session that spreads one picture over all threads, where that is worth its memory."""
    alone = seconds_of(narrow, blank[None])
    if threads == 1 or alone < WORTH_SPREADING_SECONDS:
        return None
    device = Device("cpu")
    plan = plan_session(device, largest=1, threads=threads, cache=Path())
    wide = open_session(servable.path, device, plan)
    wide.run(blank[None])
    return wide.run if seconds_of(wide.run, blank[None]) < WORTH_A_SESSION * alone else None


def blank_input(session: Session, card: Card) -> Tensor:
    """Return one input of zeros, without the batch axis: a black picture, or one step of empty features."""
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
        _check_picture_shape(given.shape, card, path)
    missing = [name for name in OUTPUTS[card.task] if name not in {o.name for o in session.outputs}]
    if missing:
        raise ServableError(f"{path}: a {card.task} graph lacks the outputs {missing}.")


def _check_picture_shape(shape: tuple[int | None, ...], card: Card, path: Path) -> None:
    wanted = (None, card.picture.height, card.picture.width, 3)
    if shape != wanted and not (card.max_batch == 1 and shape == (1, *wanted[1:])):
        raise ServableError(
            f"{path}: input {INPUT_NAME} has the shape {shape}, the card says {wanted} with a dynamic batch axis."
        )
