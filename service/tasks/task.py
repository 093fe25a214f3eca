"""What a task is: one value states everything in which it differs from the others."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image
from pydantic import BaseModel, ConfigDict

from service.card import Card
from service.errors import InvalidParameterError
from service.heads.agreement import Agreement
from service.heads.detect import Detection
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.heads.targets import ChooseTarget
from service.imaging.overlay import RenderedImage, encode_image, require_png
from service.imaging.source_image import SourceImage
from service.media_types import JPEG, PNG

RESERVED_NAMES = ("video", "explain", "chain", "models", "admin")
"""Paths below `/v1/` that are no task."""
RESERVED_OPTIONS = frozenset({"model", "version", "format", "task", "fps", "every_n", "max_frames"})
"""Query parameters that every task's route, or the route of videos, has."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class TaskOptions(BaseModel):
    """What a request may ask of a task; an unknown option is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def as_given(options: Any, _: Card) -> Any:  # noqa: ANN401  # each task has options of its own
    """Return the options unchanged: for tasks whose options mean the same for every model."""
    return options


def for_any_model(_: Card) -> None:
    """Accept every model."""


def any_size(_media_type: str, _pixels: int) -> None:
    """Accept every image."""


class Head(Protocol):
    """Makes one image's result; runs on a worker thread."""

    def __call__(
        self,
        outputs: Outputs,
        source: SourceImage,
        card: Card,
        options: Any,  # noqa: ANN401  # each task's own
    ) -> Any: ...  # noqa: ANN401


class Draw(Protocol):
    """Draws one image's result; runs on a worker thread."""

    def __call__(
        self,
        outputs: Outputs,
        source: SourceImage,
        card: Card,
        options: Any,  # noqa: ANN401  # each task's own
    ) -> Image.Image: ...


class Render(Protocol):
    """Encodes one image's result as a media type; runs on a worker thread."""

    def __call__(
        self,
        outputs: Outputs,
        source: SourceImage,
        card: Card,
        options: Any,  # noqa: ANN401  # each task's own
        media_type: str,
    ) -> RenderedImage: ...


@dataclass(frozen=True, slots=True)
class Rendering:
    """A result in another form than JSON, which a request asks for by `format=<name>` or by `Accept`.

    `media_types` are those that it can have, the preferred one first. `join` makes one body from the bodies of several
    images; where it is None a request may hold one image only. `check` raises InvalidParameterError where a model can
    not be rendered so. `require` raises TooManyPixelsError where an image of so many pixels can not be rendered as a
    media type; it is called before a network runs. `draws` says whether the image itself is drawn on.
    """

    summary: str
    render: Render
    media_types: tuple[str, ...] = (PNG,)
    check: Callable[[Card], None] = for_any_model
    join: Callable[[Sequence[RenderedImage]], RenderedImage] | None = None
    require: Callable[[str, int], None] = any_size
    draws: bool = False


def drawn(
    summary: str,
    draw: Draw,
    media_types: tuple[str, ...] = (PNG,),
    check: Callable[[Card], None] = for_any_model,
    *,
    has_colors: bool = True,
) -> Rendering:
    """Return a rendering that draws an image and encodes it as PNG or JPEG.

    One with a single value for each pixel, `has_colors` False, may be as large as the image that was sent.
    """

    def render(
        outputs: Outputs,
        source: SourceImage,
        card: Card,
        options: Any,  # noqa: ANN401  # each task has options of its own
        media_type: str,
    ) -> RenderedImage:
        image = draw(outputs, source, card, options)
        return encode_image(image, "jpeg" if media_type == JPEG else "png")

    require = _drawable if has_colors else any_size
    return Rendering(summary, render, media_types, check, require=require, draws=has_colors)


def _drawable(media_type: str, pixels: int) -> None:
    if media_type != JPEG:
        require_png(pixels)


@dataclass(frozen=True, slots=True)
class JsonForm:
    """A task's result as another protocol needs it, still as JSON.

    `make` gets the result of the task's head and returns it with what the protocol needs beside; it runs on a worker
    thread. What the task's `same_result` reads must stay as it is. `key` says with the task's options all that the
    form depends on: results with another key are other answers.
    """

    key: str
    make: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class OverTime:
    """How a task runs on the frames of a video.

    `begin` returns a new combiner for a video; `frame` and `summary` are the TypedDicts of what its `add` and its
    `summary` return. `draws` says whether frames can be drawn.
    """

    options: type[TaskOptions]
    begin: Callable[[Any, Card], Combiner[Any]]
    frame: type
    summary: type
    draws: bool = True


FindBoxes = Callable[[Outputs, SourceImage, Card, Any, Any], Sequence[Detection]]
"""Finds the things of one image that a chain cuts out, best first; runs on a worker thread.

It gets the outputs, the image, the card, the task's settled options, and an instance of the `options` of `Boxes`.
"""


class NoBoxOptions(TaskOptions):
    """For a task whose boxes are found in one way only."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """How a task finds what a chain cuts out of an image, and what a chain may ask of that."""

    find: FindBoxes
    options: type[TaskOptions] = NoBoxOptions


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Args:
        name: its name in paths, cards and settings.
        summary: what it does, in one line of the API's documentation.
        outputs: the names of the outputs that a network of this task must have.
        options: what a request may ask.
        result: the TypedDict of one image's result.
        head: one image's outputs, the image, the model's card and the settled options → the result; pure numpy, runs on
            a worker thread. None for a task that exists over time only.
        settle: the options of a request, held against a model, once per request: defaults filled in, names looked up.
            Raises InvalidParameterError where the model can not do what the options state.
        labeled: whether its networks must name their classes.
        models: the tasks whose networks can do this one, the preferred first; empty: its own.
        renderings: the result in other forms, by name.
        over_time: how it runs on a video; None where it does not.
        target: what an explanation of its networks explains; None where they can not be explained.
        boxes: what a chain may cut out of an image; None where it finds nothing that has a place.
        agreement: how far two runs of one of its networks agree; None: its networks are only served as their file says.
        same_result: whether two results of one image say the same, for shadows.
    """

    name: str
    summary: str
    outputs: tuple[str, ...]
    options: type[TaskOptions]
    result: type
    head: Head | None
    settle: Callable[[Any, Card], Any] = as_given
    labeled: bool = True
    models: tuple[str, ...] = ()
    renderings: Mapping[str, Rendering] = field(default_factory=dict)
    over_time: OverTime | None = None
    target: ChooseTarget | None = None
    boxes: Boxes | None = None
    agreement: Agreement | None = None
    same_result: Callable[[Any, Any], bool] = operator.eq

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in RESERVED_NAMES:
            raise ValueError(
                f"task {self.name!r}: use a-z, 0-9 and _, up to 32, and none of {', '.join(RESERVED_NAMES)}"
            )
        every = [self.options, *([self.over_time.options] if self.over_time else [])]
        taken = {name for options in every for name in options.model_fields} & RESERVED_OPTIONS
        if taken:
            raise ValueError(f"task {self.name}: every request has {', '.join(sorted(taken))}")

    @property
    def type_name(self) -> str:
        """The name in the form of types: `MeanColor` of `mean_color`."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    def rendering(self, name: str) -> Rendering:
        """Return a rendering by its name.

        Raises:
            InvalidParameterError: the task has none of this name.
        """
        if name not in self.renderings:
            known = ", ".join(self.renderings) or "none"
            raise InvalidParameterError(f"format: {self.name} has no {name!r}. Formats: {known}.")
        return self.renderings[name]

    @property
    def networks(self) -> tuple[str, ...]:
        """The tasks of the cards whose networks can do this task, the preferred first."""
        return self.models or (self.name,)
