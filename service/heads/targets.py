"""What is explained: a class, a box, an area or a vector, and how much of it a perturbed copy still shows."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.card import Card
from service.errors import InvalidParameterError
from service.heads.boxes import corners, iou
from service.heads.detect import DetectionOptions, find_things
from service.heads.outputs import Outputs
from service.heads.rounding import figure
from service.imaging.geometry import Box, Geometry
from service.imaging.masks import class_probability
from service.imaging.source_image import SourceImage


class Target(Protocol):
    """Something that a network said of an image."""

    @property
    def caption(self) -> str:
        """The target in a few words."""

    def score(self, outputs: Outputs) -> float:
        """Return how much of it is left, 0–1, in the outputs for a perturbed copy."""

    def figures(self) -> dict[str, Any]:
        """Return the target as JSON."""


@dataclass(frozen=True, slots=True)
class ClassTarget:
    """A classifier's class."""

    label: str
    class_id: int
    probability: float
    logit: float

    @property
    def caption(self) -> str:
        return f"{self.label} {self.probability:.0%}"

    def score(self, outputs: Outputs) -> float:
        return float(outputs["probabilities"][self.class_id])

    def figures(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "class_id": self.class_id,
            "probability": round(self.probability, 6),
            "logit": figure(self.logit),
        }


@dataclass(frozen=True, slots=True)
class BoxTarget:
    """One detection; `box` on the image, `in_frame` xyxy in 0–1 of the frame."""

    label: str
    class_id: int
    confidence: float
    box: Box
    in_frame: NDArray[np.float32]
    index: int

    @property
    def caption(self) -> str:
        return f"{self.label} {self.confidence:.0%}"

    def score(self, outputs: Outputs) -> float:
        """Return the best IoU × score among candidates of the class.

        D-RISE, Petsiuk et al., CVPR 2021, with the one class that a candidate has and without objectness.
        """
        same = outputs["classes"] == self.class_id
        if not same.any():
            return 0.0
        overlap = iou(outputs["boxes"][same], self.in_frame[None])[:, 0]
        return float((overlap * outputs["scores"][same]).max())

    def figures(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "class_id": self.class_id,
            "score": round(self.confidence, 6),
            "box": corners(self.box),
            "index": self.index,
        }


@dataclass(frozen=True, slots=True)
class AreaTarget:
    """A class's area in a mask, bool (H, W) of the frame, whose share of the frame is `fraction`."""

    label: str
    class_id: int
    area: NDArray[np.bool_]
    classes: int

    @property
    def fraction(self) -> float:
        return float(self.area.mean())

    @property
    def caption(self) -> str:
        return f"{self.label}, {self.fraction:.0%} of the frame"

    def score(self, outputs: Outputs) -> float:
        share = class_probability(
            outputs["mask"], outputs["confidence"], self.class_id, self.classes
        )
        return float(share[self.area].mean()) / 255

    def figures(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "class_id": self.class_id,
            "fraction": round(self.fraction, 6),
        }


@dataclass(frozen=True, slots=True)
class FeatureTarget:
    """A feature vector, of length one."""

    features: NDArray[np.float32]

    @property
    def caption(self) -> str:
        return f"{len(self.features)} features"

    def score(self, outputs: Outputs) -> float:
        return max(0.0, float(_unit(outputs["features"]) @ self.features))

    def figures(self) -> dict[str, Any]:
        return {"features": len(self.features)}


def place_of(target: Target, height: int, width: int) -> NDArray[np.float32] | None:
    """Return how much of each place of a grid over the frame a box or an area covers, float32 (height, width), 0–1.

    None for targets that lie nowhere in particular.
    """
    if isinstance(target, AreaTarget):
        area = Image.fromarray(target.area.astype(np.float32))
        return np.asarray(area.resize((width, height), Image.Resampling.BOX))
    if isinstance(target, BoxTarget):
        left, top, right, bottom = target.in_frame.tolist()
        rows, columns = _covered(top, bottom, height), _covered(left, right, width)
        return np.outer(rows, columns).astype(np.float32)
    return None


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """What a request wants explained: a class, None for the one that the network is surest of; which detection."""

    class_id: int | None = None
    box: int = 0


ChooseTarget = Callable[[Outputs, SourceImage, Card, TargetChoice], Target]
"""Return what is explained. Raises InvalidParameterError where the network finds no such thing in the image."""


def choose_class(outputs: Outputs, _: SourceImage, card: Card, choice: TargetChoice) -> ClassTarget:
    """Return the class that was chosen, else the most probable one."""
    probabilities = outputs["probabilities"]
    chosen = int(probabilities.argmax()) if choice.class_id is None else choice.class_id
    return ClassTarget(
        card.labels[chosen], chosen, float(probabilities[chosen]), float(outputs["logits"][chosen])
    )


def choose_features(
    outputs: Outputs, _: SourceImage, _card: Card, _choice: TargetChoice
) -> FeatureTarget:
    """Return the image's own feature vector."""
    return FeatureTarget(_unit(outputs["features"]))


def choose_target(
    outputs: Outputs, source: SourceImage, card: Card, *, class_id: int | None, box: int
) -> Target:
    """Return what is explained of a network, by its card's task; see the functions above."""
    choose: dict[str, ChooseTarget] = {
        "classify": choose_class,
        "detect": choose_box,
        "segment": choose_area,
        "embed": choose_features,
    }
    return choose[card.task](outputs, source, card, TargetChoice(class_id, box))


def class_id_of(card: Card, wanted: str) -> int:
    """Return the id of a class given by its label or by its id.

    Raises:
        InvalidParameterError: there is none; the nearest labels are told.
    """
    by_label = {
        label.casefold(): index for index, label in reversed(list(enumerate(card.labels))) if label
    }
    if wanted.casefold() in by_label:
        return by_label[wanted.casefold()]
    if wanted.isdecimal() and int(wanted) < len(card.labels) and card.labels[int(wanted)]:
        return int(wanted)
    if not card.labels:
        raise InvalidParameterError(f"class: {card.name} has no classes")
    near = difflib.get_close_matches(wanted.casefold(), by_label, n=3) or sorted(by_label)[:8]
    named = ", ".join(card.labels[by_label[label]] for label in near)
    raise InvalidParameterError(
        f"class: {card.name} has no class {wanted!r}; near: {named}; or an id from 0 to {len(card.labels) - 1}"
    )


def choose_box(
    outputs: Outputs, source: SourceImage, card: Card, choice: TargetChoice
) -> BoxTarget:
    """Return the detection that was chosen, counted from the best one; of a class, where one was chosen.

    Raises:
        InvalidParameterError: the network finds fewer.
    """
    class_id, index = choice.class_id, choice.box
    wanted = None if class_id is None else frozenset({class_id})
    things = find_things(
        outputs, source, labels=card.labels, options=DetectionOptions(class_ids=wanted)
    )
    if index >= len(things.found):
        of_class = "" if class_id is None else f" of class {card.labels[class_id]!r}"
        raise InvalidParameterError(
            f"box: {card.name} finds {len(things.found)} things{of_class} in this image, counted from 0, not {index}"
        )
    thing = things.found[index]
    return BoxTarget(
        thing.label,
        thing.class_id,
        thing.score,
        thing.box,
        _in_frame(thing.box, source.geometry),
        index,
    )


def choose_area(outputs: Outputs, _: SourceImage, card: Card, choice: TargetChoice) -> AreaTarget:
    """Return the area of the class that was chosen, else the largest area that is not background.

    Raises:
        InvalidParameterError: the network finds no such area.
    """
    class_id = choice.class_id
    areas = np.bincount(outputs["mask"].ravel(), minlength=len(card.labels))
    if class_id is None:
        things = areas.copy()
        if card.background_id is not None:
            things[card.background_id] = 0
        class_id = int(things.argmax())
        if not things[class_id]:
            raise InvalidParameterError(f"class: {card.name} sees nothing but background here")
    if not areas[class_id]:
        present = ", ".join(card.labels[index] for index in np.flatnonzero(areas).tolist())
        raise InvalidParameterError(
            f"class: {card.name} sees no {card.labels[class_id]!r} in this image, but {present}"
        )
    area: NDArray[np.bool_] = outputs["mask"] == class_id
    return AreaTarget(card.labels[class_id], class_id, area, len(card.labels))


def _in_frame(box: Box, geometry: Geometry) -> NDArray[np.float32]:
    left, top, right, bottom = geometry.region
    scale = np.array([right - left, bottom - top] * 2, np.float32)
    framed: NDArray[np.float32] = (
        np.array(box, np.float32) - np.array([left, top] * 2, np.float32)
    ) / scale
    return framed


def _covered(begin: float, end: float, places: int) -> NDArray[np.float64]:
    """Return the share of each of so many equal parts of 0–1 that lies between two bounds."""
    edges = np.arange(places + 1) / places
    shared = np.minimum(end, edges[1:]) - np.maximum(begin, edges[:-1])
    share: NDArray[np.float64] = np.clip(shared * places, 0, 1)
    return share


def _unit(vector: NDArray[Any]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    scaled: NDArray[np.float32] = (vector / length if length else vector).astype(np.float32)
    return scaled
