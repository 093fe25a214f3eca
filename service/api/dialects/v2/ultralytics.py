"""A model as Ultralytics' own client reads one: `YOLO("http://HOST:8000/ultralytics:MODEL", task="detect")`.

That client resizes images itself and sends them as floats, channels first. It reads one output: boxes after the
suppression, as its exports with `nms=True` have, or the probabilities of the classes. So the same network is described
with another input and output; what runs is its own.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.api.tensors import TensorInput
from service.card import Card
from service.errors import WrongTaskError
from service.heads.detect import DetectionOptions, find_things
from service.heads.nms import default_suppression
from service.pipeline import whole_frame
from service.runtime.job import Outputs, Tensor
from service.runtime.model import Model
from service.runtime.signature import Signature, TensorInfo
from service.value import value

PREFIX: Final = "ultralytics:"
"""Of a model's name in a path. What is behind it is no version: these are whole numbers."""
INPUT, OUTPUT = "images", "output0"
FLOATS: Final = "tensor(float)"
MOST_BOXES = 300
"""The rows of an image's output, as in their exports; those without a box are zero."""
BOX_FIELDS = 6
"""x_min, y_min, x_max, y_max in pixels of the input, the score, and the class."""
LEAST_SCORE = 0.001
"""Boxes below it are dropped here. The client drops those below its own `conf`."""


def viewed_name(name: str) -> str | None:
    """Return the model that a name in a path means in this view; None where it is no name of this view."""
    viewed = name.removeprefix(PREFIX)
    return None if viewed == name or viewed.isdecimal() else viewed


@value
class UltralyticsView:
    """A model with the tensors of Ultralytics' exports; see `Described`."""

    name: str
    version: int
    card: Card
    signature: Signature
    blank: Tensor

    def input_of(self, given: TensorInput) -> TensorInput:
        """Return the network's own input: bytes (N, H, W, 3) for floats (N, 3, H, W) in 0–1; blocking."""
        if given.rows is None:
            return given
        rows = np.rint(np.clip(given.rows, 0, 1) * 255).astype(np.uint8)
        return replace(given, rows=np.ascontiguousarray(rows.transpose(0, 2, 3, 1)))

    def results(self, rows: Sequence[Outputs]) -> list[Outputs]:
        """Return the output of this view for each row of the network's outputs; blocking."""
        read = _boxes if self.card.task == "detect" else _probabilities
        return [{OUTPUT: read(row, self.card)} for row in rows]


def ultralytics_view(model: Model) -> UltralyticsView:
    """Return a model in this view.

    Raises:
        WrongTaskError: it neither detects nor classifies.
    """
    card = model.card
    if card.task not in {"detect", "classify"}:
        raise WrongTaskError(
            f"{model.name} does {card.task}. Ultralytics' client is answered by models for classify or detect."
        )
    frame = card.image_input
    shape = (3, frame.height, frame.width)
    found = (MOST_BOXES, BOX_FIELDS) if card.task == "detect" else (len(card.labels),)
    return UltralyticsView(
        f"{PREFIX}{model.name}",
        model.version,
        card,
        Signature(
            (TensorInfo(INPUT, FLOATS, (None, *shape)),),
            (TensorInfo(OUTPUT, FLOATS, (None, *found)),),
        ),
        np.broadcast_to(np.zeros((), np.float32), shape),
    )


def client_metadata(card: Card) -> dict[str, Any]:
    """Return what the client reads of a model beside its tensors; a class without a name has its number."""
    described: dict[str, Any] = {
        "description": card.title,
        "license": card.license,
        "task": card.task,
        "names": {number: label or str(number) for number, label in enumerate(card.labels)},
    }
    if card.input is not None:
        described |= {"imgsz": [card.input.height, card.input.width], "channels": 3}
    return described


def view_metadata(card: Card) -> dict[str, Any]:
    """Return `client_metadata` and how the view takes images: of one size, which a stride of 1 leaves as it is."""
    return client_metadata(card) | {"stride": 1, "batch": 1, "end2end": card.task == "detect"}


def _boxes(outputs: Outputs, card: Card) -> NDArray[np.float32]:
    options = DetectionOptions(
        score_threshold=LEAST_SCORE, max_detections=MOST_BOXES, nms=default_suppression(card)
    )
    found = find_things(outputs, whole_frame(card), labels=card.labels, options=options).found
    rows = np.zeros((MOST_BOXES, BOX_FIELDS), np.float32)
    for row, one in zip(rows, found, strict=False):
        row[:] = (*one.box, one.score, one.class_id)
    return rows


def _probabilities(outputs: Outputs, _: Card) -> NDArray[np.float32]:
    return np.asarray(outputs["probabilities"], np.float32)
