"""Answers for images, held one after another against the truth; their scores come at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import LabelsError
from service.labeled.average_precision import Boxes, box_scores
from service.labeled.names import ClassNames
from service.labeled.scores import (
    IGNORED,
    TOP,
    Scores,
    class_scores,
    confusion,
    label_scores,
    mask_scores,
)
from service.labeled.truth import LabeledImage

A_contra = TypeVar("A_contra", contravariant=True)


class Scorer(Protocol[A_contra]):
    """Collects the answers for images, one after another; their scores come at the end."""

    def add(self, answer: A_contra, image: LabeledImage) -> None: ...

    def scores(self) -> Scores: ...


@dataclass(slots=True)
class ClassScorer:
    """Images of one class each; an answer is the ids of the best classes, best first."""

    labels: tuple[str, ...]
    names: ClassNames
    ranked: list[list[int]] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)

    @property
    def top(self) -> int:
        """How many classes an answer needs."""
        return min(TOP, len(self.labels))

    def add(self, answer: Sequence[int], image: LabeledImage) -> None:
        self.ranked.append(list(answer))
        self.truth.extend(self.names.ids(image.cells) or ())

    def scores(self) -> Scores:
        return class_scores(self.ranked, self.truth, len(self.labels))


@dataclass(slots=True)
class LabelScorer:
    """Images with several labels, or none; an answer is the ids that are assigned."""

    labels: tuple[str, ...]
    names: ClassNames
    assigned: list[NDArray[np.bool_]] = field(default_factory=list)
    truth: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, answer: Sequence[int], image: LabeledImage) -> None:
        count = len(self.labels)
        self.assigned.append(_flags(answer, count))
        self.truth.append(_flags(sorted(self.names.ids(image.cells) or ()), count))

    def scores(self) -> Scores:
        return label_scores(np.array(self.assigned), np.array(self.truth))


@dataclass(slots=True)
class BoxScorer:
    """Images with boxes; an answer is the boxes that are found."""

    labels: tuple[str, ...]
    names: ClassNames
    found: list[Boxes] = field(default_factory=list)
    truth: list[Boxes] = field(default_factory=list)

    def add(self, answer: Boxes, image: LabeledImage) -> None:
        ids = [(self.names.find(box.name), box) for box in image.boxes]
        true = [(kind, box) for kind, box in ids if kind is not None]
        self.found.append(answer)
        self.truth.append(
            boxes_of(
                [box.xyxy for _, box in true],
                [kind for kind, _ in true],
                crowds=[box.is_crowd for _, box in true],
            )
        )

    def scores(self) -> Scores:
        return box_scores(self.found, self.truth)


@dataclass(slots=True)
class MaskScorer:
    """Images with masks; an answer is the class of each pixel of the displayed image, uint8 (H, W).

    `areas` are the classes that most pixels of each true class of an image have in the answer, and the true class.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64] = field(init=False)
    areas: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.labels), len(self.labels) + 1), np.int64)

    def add(self, answer: NDArray[np.uint8], image: LabeledImage) -> None:
        assert image.mask is not None
        true = _true_mask(image, len(self.labels))
        counts = confusion(answer, true, len(self.labels))
        self.counts += counts
        answered = counts[:, :-1]  # the last column has pixels without an answer
        self.areas += [
            (int(answered[kind].argmax()), int(kind))
            for kind in np.flatnonzero(answered.any(axis=1))
        ]

    def scores(self) -> Scores:
        return mask_scores(self.counts)


def check_masks(images: tuple[LabeledImage, ...], classes: int) -> None:
    """Refuse masks that hold no class indices.

    Raises:
        LabelsError: a mask can not be read, holds colors or a value that is no class, or all hold 0 and 255 alone.
    """
    masks = [image for image in images if image.mask is not None]
    held = set()
    for image in masks:
        held.update(np.unique(_true_mask(image, classes)).tolist())
    if masks and held <= {0, IGNORED} and IGNORED in held:
        raise LabelsError(
            f"the masks hold 0 and {IGNORED} alone, and {IGNORED} means that a pixel is ignored. Write the "
            "class's index, 1, where the object is"
        )


def mask_size(image: LabeledImage) -> tuple[int, int]:
    """Return width and height of an image's mask, by its header."""
    assert image.mask is not None
    with Image.open(image.mask) as file:
        return file.size


def _true_mask(image: LabeledImage, classes: int) -> NDArray[np.uint8]:
    """Return the class of each pixel of the displayed image, uint8 (H, W), 255 where it does not count."""
    mask = image.mask
    assert mask is not None
    try:
        with Image.open(mask) as file:
            values = np.asarray(file)
    except (OSError, SyntaxError, ValueError) as error:
        raise LabelsError(f"the mask {mask.name} can not be read: {error}") from error
    if values.ndim != 2 or values.dtype.kind not in {"b", "u", "i"}:
        raise LabelsError(
            f"the mask {mask.name} holds colors. It must be gray or have a palette, with one value for each "
            "pixel: the index of its class"
        )
    wrong = values[(values >= classes) & (values != IGNORED) | (values < 0)]
    if len(wrong):
        raise LabelsError(
            f"the mask {mask.name} holds {int(wrong[0])}, the network has the classes 0 to {classes - 1}; "
            f"{IGNORED} is for pixels that do not count"
        )
    return values.astype(np.uint8)


def _flags(ids: Sequence[int], count: int) -> NDArray[np.bool_]:
    flags = np.zeros(count, bool)
    flags[list(ids)] = True
    return flags


def boxes_of(
    boxes: Sequence[tuple[float, float, float, float]],
    classes: Sequence[int],
    *,
    scores: Sequence[float] | None = None,
    crowds: Sequence[bool] | None = None,
) -> Boxes:
    """Return the boxes of one image, xyxy in pixels, with their classes, and their scores or crowds."""
    return Boxes(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(scores if scores is not None else [1.0] * len(boxes), np.float64),
        np.array(crowds if crowds is not None else [False] * len(boxes), bool),
    )
