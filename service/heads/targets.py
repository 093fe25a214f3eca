"""What an explanation explains: a class, a box, an area or a vector.

Each target can score the outputs for a perturbed copy: how much of the target they still show.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NotRequired, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.card import Card
from service.errors import InvalidParameterError
from service.faults import nearest, shown
from service.heads.boxes import CornersBox, corners, iou
from service.heads.detect import DetectionOptions, find_things
from service.heads.nms import default_suppression
from service.heads.outputs import Outputs
from service.heads.rounding import figure
from service.imaging.geometry import Box, Geometry
from service.imaging.masks import class_probability
from service.imaging.source_image import SourceImage

Share = Annotated[float, Field(ge=0, le=1)]


@with_config(ConfigDict(extra="forbid"))
class ClassFigures(TypedDict):
    """A class of a classifier."""

    label: str
    class_id: int
    probability: Share
    logit: float
    bias: NotRequired[
        Annotated[
            float, Field(description="With an exact CAM: the logit is this plus the mean of `heat`")
        ]
    ]


@with_config(ConfigDict(extra="forbid"))
class BoxFigures(TypedDict):
    """A detection."""

    label: str
    class_id: int
    score: Share
    box: Annotated[CornersBox, Field(description="In pixels of the image as displayed")]
    index: Annotated[int, Field(description="Its place among the detections; 0 is the best")]


@with_config(ConfigDict(extra="forbid"))
class AreaFigures(TypedDict):
    """The area of a class in a mask."""

    label: str
    class_id: int
    fraction: Annotated[Share, Field(description="The area's share of the network's frame")]


@with_config(ConfigDict(extra="forbid"))
class FeatureFigures(TypedDict):
    """A feature vector."""

    features: Annotated[int, Field(description="The vector's length")]


TargetFigures = ClassFigures | BoxFigures | AreaFigures | FeatureFigures
"""A target as JSON."""


class Target(Protocol):
    """A part of a network's result for an image."""

    @property
    def caption(self) -> str:
        """The target in a few words."""

    def score(self, outputs: Outputs) -> float:
        """Return how much of the target the outputs for a perturbed copy still show, 0–1."""

    def place(self, height: int, width: int) -> NDArray[np.float32] | None:
        """Return how much each cell of a grid over the frame belongs to the target.

        Returns:
            float32 (height, width), from 0 on; None for a target that has no place of its own.
        """

    def figures(self) -> TargetFigures:
        """Return the target as JSON."""


@dataclass(frozen=True, slots=True)
class ClassTarget:
    """A class of a classifier."""

    label: str
    class_id: int
    probability: float
    logit: float

    @property
    def caption(self) -> str:
        return f"{self.label} {self.probability:.0%}"

    def score(self, outputs: Outputs) -> float:
        """Return the class's probability."""
        return float(outputs["probabilities"][self.class_id])

    def place(self, height: int, width: int) -> None:
        """Return None: a class has no place."""

    def figures(self) -> ClassFigures:
        return {
            "label": self.label,
            "class_id": self.class_id,
            "probability": round(self.probability, 6),
            "logit": figure(self.logit),
        }


@dataclass(frozen=True, slots=True)
class BoxTarget:
    """A detection: `box` is xyxy in pixels of the displayed image, `in_frame` float32 (4,) in 0–1 of the frame.

    `visible`, float32 (4,), is the part of the frame that shows the image, in the same form: candidates of the network
    may reach beyond it.
    """

    label: str
    class_id: int
    confidence: float
    box: Box
    in_frame: NDArray[np.float32]
    index: int
    visible: NDArray[np.float32]

    @property
    def caption(self) -> str:
        return f"{self.label} {self.confidence:.0%}"

    def score(self, outputs: Outputs) -> float:
        """Return the best IoU × score among the candidates of the class.

        D-RISE, Petsiuk et al., CVPR 2021. Here a candidate has one class instead of a probability for each, and no
        objectness.
        """
        same = outputs["classes"] == self.class_id
        if not same.any():
            return 0.0
        low, high = np.tile(self.visible.reshape(2, 2), 2)
        overlap = iou(np.clip(outputs["boxes"][same], low, high), self.in_frame[None])[:, 0]
        return float((overlap * outputs["scores"][same]).max())

    def place(self, height: int, width: int) -> NDArray[np.float32]:
        """Return how much each cell belongs to the box, float32 (height, width), 0–4.

        The middle of a box counts most, since its corners often show what is behind the thing. The mean over the
        cells is the share of the frame that the box covers.
        """
        left, top, right, bottom = self.in_frame.tolist()
        rows, columns = _triangle(top, bottom, height), _triangle(left, right, width)
        return np.outer(rows, columns).astype(np.float32)

    def figures(self) -> BoxFigures:
        return {
            "label": self.label,
            "class_id": self.class_id,
            "score": round(self.confidence, 6),
            "box": corners(self.box),
            "index": self.index,
        }


@dataclass(frozen=True, slots=True)
class AreaTarget:
    """The area of a class in a mask.

    Args:
        label: of the class.
        class_id: of the class.
        area: bool (H, W) of the frame, False on padding.
        fraction: the area's share of all pixels of the image, 0–1, as in the result of `segment`.
        classes: the number of the network's classes.
    """

    label: str
    class_id: int
    area: NDArray[np.bool_]
    fraction: float
    classes: int

    @property
    def caption(self) -> str:
        return f"{self.label}, {self.fraction:.0%} of the image"

    def score(self, outputs: Outputs) -> float:
        """Return the class's mean probability over the area."""
        share = class_probability(
            outputs["mask"], outputs["confidence"], self.class_id, self.classes
        )
        return float(share[self.area].mean()) / 255

    def place(self, height: int, width: int) -> NDArray[np.float32]:
        """Return the share of each cell that the area covers, float32 (height, width)."""
        area = Image.fromarray(self.area.astype(np.float32))
        return np.asarray(area.resize((width, height), Image.Resampling.BOX))

    def figures(self) -> AreaFigures:
        return {
            "label": self.label,
            "class_id": self.class_id,
            "fraction": round(self.fraction, 6),
        }


@dataclass(frozen=True, slots=True)
class FeatureTarget:
    """A feature vector, float32 (F,), of length one."""

    features: NDArray[np.float32]

    @property
    def caption(self) -> str:
        return f"{len(self.features)} features"

    def score(self, outputs: Outputs) -> float:
        """Return the cosine similarity, 0 where it is negative."""
        return max(0.0, float(_unit(outputs["features"]) @ self.features))

    def place(self, height: int, width: int) -> None:
        """Return None: a vector has no place."""

    def figures(self) -> FeatureFigures:
        return {"features": len(self.features)}


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """Which target a request asks for.

    `class_id` None is the network's own choice; `box` is a detection's place among the detections, 0 is the best.
    """

    class_id: int | None = None
    box: int = 0


ChooseTarget = Callable[[Outputs, SourceImage, Card, TargetChoice], Target]
"""Return the target to explain. Raises InvalidParameterError where the network does not find it in the image."""


def choose_class(outputs: Outputs, _: SourceImage, card: Card, choice: TargetChoice) -> ClassTarget:
    """Return the chosen class, else the most probable one."""
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


def choose_box(
    outputs: Outputs, source: SourceImage, card: Card, choice: TargetChoice
) -> BoxTarget:
    """Return the chosen detection, counted from the best one; where a class is chosen, among those of the class.

    Raises:
        InvalidParameterError: the network finds fewer.
    """
    class_id, index = choice.class_id, choice.box
    wanted = None if class_id is None else frozenset({class_id})
    options = DetectionOptions(class_ids=wanted, nms=default_suppression(card))
    things = find_things(outputs, source, labels=card.labels, options=options)
    if index >= len(things.found):
        raise InvalidParameterError(_no_such_box(card, len(things.found), choice))
    thing = things.found[index]
    return BoxTarget(
        thing.label,
        thing.class_id,
        thing.score,
        thing.box,
        _in_frame(thing.box, source.geometry),
        index,
        _visible(source.geometry),
    )


def _no_such_box(card: Card, count: int, choice: TargetChoice) -> str:
    of_class = ""
    if choice.class_id is not None:
        of_class = f" of class {card.labels[choice.class_id]!r}"
    if not count:
        return (
            f"box: {card.name} finds nothing{of_class} in this image with a score of "
            f"{DetectionOptions().score_threshold:g} or more, so there is no box to explain. Send an image with "
            "something that it knows, as POST /v1/detect shows."
        )
    if count == 1:
        return (
            f"box: {card.name} finds one thing{of_class} in this image, which is box 0 (they are counted from 0); "
            f"there is no box {choice.box}"
        )
    return (
        f"box: {card.name} finds {count} things{of_class} in this image, counted from 0: boxes 0 to {count - 1}; "
        f"there is no box {choice.box}"
    )


def choose_area(
    outputs: Outputs, source: SourceImage, card: Card, choice: TargetChoice
) -> AreaTarget:
    """Return the area of the chosen class, else the largest area that is not background; padding never counts.

    Raises:
        InvalidParameterError: the network finds no such area.
    """
    class_id = choice.class_id
    left, top, right, bottom = source.geometry.content
    areas = np.bincount(outputs["mask"][top:bottom, left:right].ravel(), minlength=len(card.labels))
    if class_id is None:
        things = areas.copy()
        if card.background_id is not None:
            things[card.background_id] = 0
        class_id = int(things.argmax())
        if not things[class_id]:
            raise InvalidParameterError(
                f"class: {card.name} finds only background in this image; there is no area to explain"
            )
    if not areas[class_id]:
        present = ", ".join(card.labels[index] for index in np.flatnonzero(areas).tolist())
        raise InvalidParameterError(
            f"class: {card.name} finds no {card.labels[class_id]!r} in this image; it finds: {present}"
        )
    area = np.zeros(outputs["mask"].shape, np.bool_)
    area[top:bottom, left:right] = outputs["mask"][top:bottom, left:right] == class_id
    fraction = float(area[top:bottom, left:right].mean()) * source.geometry.seen_fraction
    return AreaTarget(card.labels[class_id], class_id, area, fraction, len(card.labels))


def class_id_of(card: Card, wanted: str) -> int:
    """Return the id of a class that is given by its label, in upper or lower case, or by its id.

    Raises:
        InvalidParameterError: the network has no such class; the message lists the nearest labels.
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
    near = nearest(wanted.casefold(), by_label, 3) or sorted(by_label)[:8]
    named = ", ".join(card.labels[by_label[label]] for label in near)
    raise InvalidParameterError(
        f"class: {card.name} has no class {shown(wanted)}; near: {named}; or an id from 0 to {len(card.labels) - 1}"
    )


def _in_frame(box: Box, geometry: Geometry) -> NDArray[np.float32]:
    """Carry an xyxy box from pixels of the displayed image to 0–1 of the frame, float32 (4,)."""
    left, top, right, bottom = geometry.region
    scale = np.array([right - left, bottom - top] * 2, np.float32)
    framed: NDArray[np.float32] = (
        np.array(box, np.float32) - np.array([left, top] * 2, np.float32)
    ) / scale
    return framed


def _visible(geometry: Geometry) -> NDArray[np.float32]:
    """Return the part of the frame that shows the image, xyxy in 0–1, float32 (4,)."""
    image = (0.0, 0.0, float(geometry.width), float(geometry.height))
    part: NDArray[np.float32] = np.clip(_in_frame(image, geometry), 0, 1)
    return part


def _triangle(begin: float, end: float, parts: int) -> NDArray[np.float64]:
    """Return the mean in each of so many equal parts of 0–1 of a triangle over two bounds, float64 (parts,).

    The triangle is 0 at both bounds and 2 in the middle, so its mean between them is 1.
    """
    edges = np.arange(parts + 1) / parts
    at = np.clip((edges - begin) / max(end - begin, 1e-6), 0, 1)
    below = np.where(at < 0.5, 2 * at**2, 1 - 2 * (1 - at) ** 2) * (end - begin)
    mean: NDArray[np.float64] = np.diff(below) * parts
    return mean


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vector scaled to length one; a vector of zeros stays as it is."""
    length = float(np.linalg.norm(vector))
    scaled: NDArray[np.float32] = (vector / length if length else vector).astype(np.float32)
    return scaled
