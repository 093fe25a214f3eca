"""What a servable's file must be: the graph of its certificate, with the inputs and outputs of its card's task."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from service.card import DATA_SUFFIX, INPUT_NAME, TEMPORAL_INPUT_NAME, Card, CardError
from service.errors import ServableError
from service.runtime.job import Outputs, Tensor
from service.runtime.repository import Servable
from service.runtime.session import Session
from service.servable_file import check_certificate


def require_certificate(servable: Servable) -> None:
    """Refuse a servable whose file is not the one that was proved.

    Raises:
        ServableError: its digest differs.
    """
    try:
        check_certificate(servable.path, servable.card)
    except CardError as error:
        raise ServableError(str(error)) from error


def weights_beside(servable: Servable) -> Path | None:
    """Return the file with a servable's weights, None where they are in its own file."""
    if servable.card.certificate.data_sha256 is None:
        return None
    return servable.path.with_name(servable.path.name + DATA_SUFFIX)


def outputs_of(servable: Servable, outputs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the outputs that a servable's graph must have.

    Args:
        servable: a network.
        outputs: by task, the names of the outputs that a graph for it must have.

    Raises:
        ServableError: its task is not among them.
    """
    task = servable.card.task
    if task not in outputs:
        raise ServableError(
            f"{servable.path}: the card's task is {task!r}, which this service does not know. "
            f"Known tasks: {', '.join(sorted(outputs))}."
        )
    return outputs[task]


def blank_input(session: Session, card: Card) -> Tensor:
    """Return one input of zeros without the batch axis: a black image (H, W, 3), or a window of features (T, F)."""
    if card.input is not None:
        return np.zeros((card.input.height, card.input.width, 3), np.uint8)
    shape = tuple(axis or 1 for axis in session.inputs[0].shape[1:])
    return np.zeros(shape, np.float32)


def varied_input(blank: Tensor) -> Tensor:
    """Return one input of noise, of the shape and type of a blank one: no two regions are the same, no value is 0.

    Networks that divide by an image's own largest value or deviation have no number for an image of one color.
    """
    random = np.random.default_rng(0)
    if blank.dtype == np.uint8:
        return random.integers(16, 240, blank.shape, dtype=np.uint8)
    return random.uniform(0.1, 0.9, blank.shape).astype(blank.dtype)


def answer_check(session: Session, blank: Tensor, path: Path) -> None:
    """Run a network on one blank input, and on noise where its answer is not finite.

    Raises:
        ServableError: both have an output that is not finite.
    """
    if fault_of(session(blank[None])) and (fault := fault_of(session(varied_input(blank)[None]))):
        raise ServableError(f"{path}: {fault}.")


def fault_of(outputs: Outputs) -> str:
    """Return what is wrong with the outputs of a check's input; empty where each is finite."""
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            return f"output {name} is not finite, for a blank image and for noise"
    return ""


def check_contract(session: Session, card: Card, path: Path, expected: Collection[str]) -> None:
    """Check the graph's input against the card, and that it has the expected outputs.

    Raises:
        ServableError: they differ; the message names the first difference.
    """
    expected_name = INPUT_NAME if card.input is not None else TEMPORAL_INPUT_NAME
    expected_type = "tensor(uint8)" if card.input is not None else "tensor(float)"
    names = [tensor.name for tensor in session.inputs]
    if names != [expected_name]:
        raise ServableError(
            f"{path}: the graph's inputs are {names}, the contract requires [{expected_name!r}]."
        )
    tensor = session.inputs[0]
    if tensor.dtype != expected_type:
        raise ServableError(
            f"{path}: input {tensor.name} is {tensor.dtype}, the contract requires {expected_type}."
        )
    if card.input is not None:
        _check_image_shape(tensor.shape, card, path)
    else:
        _check_window_shape(tensor.shape, card, path)
    found = {output.name for output in session.outputs}
    missing = [name for name in expected if name not in found]
    if missing:
        raise ServableError(f"{path}: a {card.task} graph lacks the outputs {missing}.")


def _check_window_shape(shape: tuple[int | None, ...], card: Card, path: Path) -> None:
    frames = card.window.frames if card.window else None
    if len(shape) != 3 or shape[1] != frames or shape[2] is None:
        raise ServableError(
            f"{path}: input {TEMPORAL_INPUT_NAME} has the shape {shape}, the card says (None, {frames}, features)."
        )


def _check_image_shape(shape: tuple[int | None, ...], card: Card, path: Path) -> None:
    expected = (None, card.image_input.height, card.image_input.width, 3)
    if shape != expected and not (card.max_batch == 1 and shape == (1, *expected[1:])):
        raise ServableError(
            f"{path}: input {INPUT_NAME} has the shape {shape}, the card says {expected} with a dynamic batch axis."
        )
