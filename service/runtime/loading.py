"""A servable → a warm session: its certificate checked, its graph held against the contract, its batches run once."""

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
from service.runtime.batcher import Tensor
from service.runtime.device import Device, plan_session
from service.runtime.repository import Servable
from service.runtime.session import Session, open_session


def load_session(
    servable: Servable, device: Device, *, largest: int, threads: int, cache: Path
) -> Session:
    """Return a session that has run every size of batch that it must know beforehand; blocking.

    Args:
        servable: what to load.
        device: where it shall run.
        largest: pictures in a batch at most.
        threads: threads of one run on a CPU.
        cache: folder for what a device compiles.

    Raises:
        ServableError: the certificate or the graph does not hold.
        DeviceError: the network does not fully run on the device.
    """
    try:
        check_certificate(servable.path, servable.card)
    except CardError as error:
        raise ServableError(str(error)) from error
    plan = plan_session(device, largest=largest, threads=threads, cache=cache)
    session = open_session(servable.path, device, plan)
    check_contract(session, servable.card, servable.path)
    blank = blank_input(session, servable.card)
    for size in reversed(plan.batch_sizes or (1,)):  # largest first: the arena grows once
        session.run(np.repeat(blank[None], size, axis=0))
    return session


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
