"""What a chain answers, as JSON: the boxes of its first step, and in each what the later steps say of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.errors import FovealError
from service.heads.boxes import CornersBox, corners
from service.heads.detect import Detection


@with_config(ConfigDict(extra="forbid"))
class ChainFault(TypedDict):
    code: str
    detail: str


@with_config(ConfigDict(extra="forbid"))
class ChainAnswer(TypedDict):
    """What a step says of a box: a result, or an error."""

    crop: Annotated[
        CornersBox,
        Field(
            description="What the step saw, in pixels of the image as displayed; a square may reach beyond the image"
        ),
    ]
    result: NotRequired[
        Annotated[
            dict[str, Any],
            Field(
                description="The task's own result, as if the crop was sent alone; or, where another step crops what "
                "this one finds, `found` and `boxes` as in the result of an image"
            ),
        ]
    ]
    error: NotRequired[ChainFault]


@with_config(ConfigDict(extra="forbid"))
class ChainBox(TypedDict):
    label: str
    class_id: Annotated[int, Field(ge=0)]
    score: Annotated[float, Field(ge=0, le=1)]
    box: Annotated[CornersBox, Field(description="In pixels of the image as displayed")]
    answers: Annotated[
        dict[str, ChainAnswer],
        Field(description="By the name of the step; a step that did not read this box is missing"),
    ]


@with_config(ConfigDict(extra="forbid"))
class ChainResult(TypedDict):
    width: Annotated[int, Field(ge=1, description="Width of the image as displayed, in pixels")]
    height: Annotated[int, Field(ge=1, description="Height of the image as displayed, in pixels")]
    found: Annotated[int, Field(ge=0, description="How many boxes the first step has found")]
    boxes: Annotated[list[ChainBox], Field(description="Best first; of a mask, largest first")]


@with_config(ConfigDict(extra="forbid"))
class ServedStep(TypedDict):
    """A step, and the model that ran it."""

    name: str
    task: str
    model: str
    version: int


@with_config(ConfigDict(extra="forbid"))
class TrackedChainBox(ChainBox):
    track: Annotated[int, Field(ge=1, description="The same number in every frame, for one thing")]


@with_config(ConfigDict(extra="forbid"))
class ChainFrame(TypedDict):
    found: Annotated[int, Field(ge=0)]
    boxes: list[TrackedChainBox]


def box_json(thing: Detection, origin: tuple[int, int]) -> dict[str, Any]:
    """Return a thing as JSON, without answers; `origin` is where the image that it is on lies on the whole one."""
    return {
        "label": thing.label,
        "class_id": thing.class_id,
        "score": round(thing.score, 6),
        "box": corners(moved(thing.box, origin)),
        "answers": {},
    }


def moved(
    box: tuple[float, float, float, float], origin: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return a box of a crop in pixels of the image that the crop's corner is a point of."""
    x, y = origin
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def answer_json(
    region: tuple[int, int, int, int],
    origin: tuple[int, int],
    result: Mapping[str, Any] | FovealError,
) -> dict[str, Any]:
    """Return a step's answer as JSON."""
    crop = corners(moved(region, origin))
    if isinstance(result, FovealError):
        return {"crop": crop, "error": {"code": result.code, "detail": str(result)}}
    return {"crop": crop, "result": result}


def all_boxes(boxes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the boxes and all that are nested in their answers, the outer ones first."""
    found = list(boxes)
    for box in boxes:
        for answer in box["answers"].values():
            nested = answer.get("result", {})
            if "boxes" in nested and "found" in nested:
                found += all_boxes(nested["boxes"])
    return found
