"""One image's outputs through the service's own head → an answer, which is held against the truth of the image."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exporter.errors import RecipeError
from exporter.labeled.average_precision import Boxes, box_scores
from exporter.labeled.names import ClassNames
from exporter.labeled.scores import (
    IGNORED,
    TOP,
    Scores,
    class_scores,
    confusion,
    label_scores,
    mask_scores,
)
from exporter.labeled.truth import LabeledImage
from exporter.network import Outputs
from service.heads.classify import best_classes
from service.heads.detect import DetectionOptions, find_things
from service.heads.segment import SegmentClasses, draw_index_mask
from service.imaging.source_image import SourceImage

DECISION = 0.5
"""A label is assigned from this probability on, where an image may have several."""

ALL_BOXES = DetectionOptions(score_threshold=0.0)
"""The service's defaults, but no box is left out by its score: mAP goes over all thresholds."""


class Scorer(Protocol):
    """Collects the answers for images, one after another; their scores come at the end."""

    def add(self, outputs: Outputs, source: SourceImage, image: LabeledImage) -> None:
        """Add the outputs for one image, without a batch axis."""

    def scores(self) -> Scores: ...


@dataclass(slots=True)
class ClassScorer:
    """Images of one class each."""

    labels: tuple[str, ...]
    names: ClassNames
    ranked: list[list[int]] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)

    def add(self, outputs: Outputs, _source: SourceImage, image: LabeledImage) -> None:
        best = best_classes(outputs["probabilities"], self.labels, top_k=min(TOP, len(self.labels)))
        self.ranked.append([one["class_id"] for one in best])
        self.truth.extend(self.names.ids(image.cells) or ())

    def scores(self) -> Scores:
        return class_scores(self.ranked, self.truth, len(self.labels))


@dataclass(slots=True)
class LabelScorer:
    """Images with several labels, or none."""

    labels: tuple[str, ...]
    names: ClassNames
    assigned: list[NDArray[np.bool_]] = field(default_factory=list)
    truth: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, outputs: Outputs, _source: SourceImage, image: LabeledImage) -> None:
        count = len(self.labels)
        found = best_classes(outputs["probabilities"], self.labels, top_k=count)
        ids = [one["class_id"] for one in found if one["probability"] >= DECISION]
        self.assigned.append(_flags(ids, count))
        self.truth.append(_flags(sorted(self.names.ids(image.cells) or ()), count))

    def scores(self) -> Scores:
        return label_scores(np.array(self.assigned), np.array(self.truth))


@dataclass(slots=True)
class BoxScorer:
    """Images with boxes."""

    labels: tuple[str, ...]
    names: ClassNames
    nms_free: bool = False
    found: list[Boxes] = field(default_factory=list)
    truth: list[Boxes] = field(default_factory=list)

    def add(self, outputs: Outputs, source: SourceImage, image: LabeledImage) -> None:
        options = replace(ALL_BOXES, nms="none") if self.nms_free else ALL_BOXES
        things = find_things(outputs, source, labels=self.labels, options=options).found
        ids = [(self.names.find(box.name), box) for box in image.boxes]
        true = [(kind, box) for kind, box in ids if kind is not None]
        self.found.append(
            _boxes(
                [one.box for one in things],
                [one.class_id for one in things],
                scores=[one.score for one in things],
            )
        )
        self.truth.append(
            _boxes(
                [box.xyxy for _, box in true],
                [kind for kind, _ in true],
                crowds=[box.is_crowd for _, box in true],
            )
        )

    def scores(self) -> Scores:
        return box_scores(self.found, self.truth)


@dataclass(slots=True)
class MaskScorer:
    """Images with masks; the answer is the PNG mask that a caller gets."""

    labels: tuple[str, ...]
    background_id: int | None
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.labels), len(self.labels) + 1), np.int64)

    def add(self, outputs: Outputs, source: SourceImage, image: LabeledImage) -> None:
        assert image.mask is not None
        true = _true_mask(image, len(self.labels))
        classes = SegmentClasses(self.labels, self.background_id)
        found = np.asarray(draw_index_mask(_as_bytes(outputs), source, classes))
        self.counts += confusion(found, true, len(self.labels))

    def scores(self) -> Scores:
        return mask_scores(self.counts)


def check_masks(images: tuple[LabeledImage, ...], classes: int) -> None:
    """Refuse masks that hold no class indices.

    Raises:
        RecipeError: a mask can not be read, holds colors or a value that is no class, or all hold 0 and 255 alone.
    """
    masks = [image for image in images if image.mask is not None]
    held = set()
    for image in masks:
        held.update(np.unique(_true_mask(image, classes)).tolist())
    if masks and held <= {0, IGNORED} and IGNORED in held:
        raise RecipeError(
            f"--labeled: the masks hold 0 and {IGNORED} alone, and {IGNORED} means that a pixel is ignored. Write the "
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
        raise RecipeError(f"--labeled: the mask {mask.name} can not be read: {error}") from error
    if values.ndim != 2 or values.dtype.kind not in {"b", "u", "i"}:
        raise RecipeError(
            f"--labeled: the mask {mask.name} holds colors. It must be gray or have a palette, with one value for each "
            "pixel: the index of its class"
        )
    wrong = values[(values >= classes) & (values != IGNORED) | (values < 0)]
    if len(wrong):
        raise RecipeError(
            f"--labeled: the mask {mask.name} holds {int(wrong[0])}, the network has the classes 0 to {classes - 1}; "
            f"{IGNORED} is for pixels that do not count"
        )
    return values.astype(np.uint8)


def _as_bytes(outputs: Outputs) -> Outputs:
    """Return a mask's outputs with the confidence in 1/255, as the graph gives it; a source's is in 0–1."""
    confidence = outputs["confidence"]
    if confidence.dtype == np.uint8:
        return outputs
    return {**outputs, "confidence": np.round(confidence * 255).astype(np.uint8)}


def _flags(ids: list[int], count: int) -> NDArray[np.bool_]:
    flags = np.zeros(count, bool)
    flags[ids] = True
    return flags


def _boxes(
    boxes: list[tuple[float, float, float, float]],
    classes: list[int],
    *,
    scores: list[float] | None = None,
    crowds: list[bool] | None = None,
) -> Boxes:
    return Boxes(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(scores if scores is not None else [1.0] * len(boxes), np.float64),
        np.array(crowds if crowds is not None else [False] * len(boxes), bool),
    )
