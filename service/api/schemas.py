"""What the endpoints take and give: checks what clients ask, documents what they get."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.errors import PROBLEM_TYPE
from service.api.ingest.images import ImagesAsJson
from service.card import Card
from service.explain.request import MOST_SAMPLES, Form, Method, View
from service.heads.boxes import BoxFormat
from service.heads.nms import Suppression

Rendering = Literal["mask", "overlay", "cutout", "confidence"]
BINARY = {"type": "string", "format": "binary"}


class Options(BaseModel):
    """Query parameters that every task takes; a misspelt one is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: Annotated[
        str | None,
        Field(max_length=64, description="Model name; default: the task's default model"),
    ] = None
    version: Annotated[
        int | None, Field(ge=1, description="Model version; default: the newest")
    ] = None


class ClassifyOptions(Options):
    top_k: Annotated[
        int | None,
        Field(ge=1, description="How many classes, best first; default: 5, or all of fewer"),
    ] = None


Share = Annotated[float, Field(ge=0, le=1)]


class DetectOptions(Options):
    score_threshold: Annotated[Share, Field(description="Least score")] = 0.3
    iou_threshold: Annotated[
        Share, Field(description="Boxes that overlap a better one by more are dropped")
    ] = 0.5
    max_detections: Annotated[int, Field(ge=1, le=300, description="Most detections")] = 100
    classes: Annotated[
        list[str], Field(description="Keep only these, by name; repeated or separated by commas")
    ] = []
    nms: Annotated[
        Suppression,
        Field(
            description="Which boxes compete: of one class, all, none; `soft` lowers scores instead"
        ),
    ] = "per_class"
    box_format: Annotated[BoxFormat, Field(description="How a box is written")] = "xyxy"
    normalized: Annotated[bool, Field(description="Boxes in 0–1 of the image, not in pixels")] = (
        False
    )
    format: Annotated[
        Literal["json", "overlay"] | None,
        Field(description="`overlay` is the image with its boxes; default: by `Accept`, else JSON"),
    ] = None


class SegmentOptions(Options):
    polygons: Annotated[bool, Field(description="Outlines too, beside the RLE")] = False
    format: Annotated[
        Literal["json"] | Rendering | None,
        Field(
            description="`mask`: a palette PNG whose index is the class id; `overlay`: classes laid over the image; "
            "`cutout`: the image with a transparent background; `confidence`: gray. Default: by `Accept`, else JSON"
        ),
    ] = None


class EmbedOptions(Options):
    pass


class FiltersOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[
        int | None, Field(ge=1, description="Model version; default: the newest")
    ] = None
    format: Annotated[
        Literal["json", "sheet"] | None,
        Field(description="`sheet`: a captioned PNG; default: by `Accept`, else JSON"),
    ] = None
    thumbnails: Annotated[
        bool, Field(description="A PNG as a `data:` URL beside each filter in the JSON")
    ] = False


class ExplainOptions(Options):
    model_config = ConfigDict(populate_by_name=True)

    view: Annotated[
        View,
        Field(
            description="`filters`: the first convolution; `maps`: each stage's maps; "
            "`patterns`: where a channel fires; "
            "`cam`, `occlusion`, `rise`: which pixels speak for a class; `probe`: how sure it stays; `story`: all"
        ),
    ]
    format: Annotated[
        Form | None,
        Field(
            description="`sheet`: a captioned PNG; `overlay`: the heat over the image; `heat`: the heat alone. "
            "Default: by `Accept`, else JSON"
        ),
    ] = None
    stage: Annotated[
        str | None, Field(max_length=64, description="A stage's name as in the model's card")
    ] = None
    channel: Annotated[int | None, Field(ge=0, description="A channel of that stage")] = None
    channels: Annotated[
        int, Field(ge=1, le=64, description="How many of the strongest channels a stage shows")
    ] = 16
    count: Annotated[int, Field(ge=1, le=25, description="How many peaks")] = 9
    class_name: Annotated[
        str | None,
        Field(
            alias="class", max_length=200, description="A label or class id; default: the top one"
        ),
    ] = None
    box: Annotated[int, Field(ge=0, le=299, description="Which detection, 0 is the best")] = 0
    method: Annotated[
        Method, Field(description="`auto` takes the first of the others that the network allows")
    ] = "auto"
    samples: Annotated[
        int | None,
        Field(
            ge=4,
            le=MOST_SAMPLES,
            description="Perturbed copies; default: 400 for rise, 144 for occlusion, 48–200 for cam",
        ),
    ] = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, description="Of what is random")] = 0
    score: Annotated[bool, Field(description="Insertion and deletion score too")] = True
    steps: Annotated[int, Field(ge=4, le=64, description="Steps of these curves")] = 16
    thumbnails: Annotated[
        bool,
        Field(description="A PNG as a `data:` URL beside each filter, map or crop in the JSON"),
    ] = False


VideoTask = Literal["classify", "segment", "detect", "embed", "temporal"]


class VideoOptions(Options):
    """What may be asked of a clip; the second half belongs to one task each."""

    task: Annotated[VideoTask, Field(description="What to do with each frame, or with all")] = (
        "classify"
    )
    fps: Annotated[
        float | None,
        Field(
            gt=0,
            le=240,
            description="Frames a second to look at; default: 2, for temporal the model's",
        ),
    ] = None
    every_n: Annotated[int | None, Field(ge=1, description="Look at each n-th frame instead")] = (
        None
    )
    max_frames: Annotated[
        int | None, Field(ge=1, description="Look at so many, evenly over the clip, instead")
    ] = None
    format: Annotated[
        Literal["json", "overlay"] | None,
        Field(
            description="`overlay`: an MP4 of the frames with boxes, masks or labels drawn; default: by `Accept`"
        ),
    ] = None
    top_k: Annotated[
        int | None, Field(ge=1, description="classify, temporal: how many classes, best first")
    ] = None
    smoothing_seconds: Annotated[
        float, Field(ge=0, le=3600, description="classify: time constant of the smoothing; 0: none")
    ] = 1.0
    score_threshold: Annotated[Share, Field(description="detect: least score")] = 0.3
    iou_threshold: Annotated[
        Share, Field(description="detect: boxes that overlap a better one by more are dropped")
    ] = 0.5
    max_detections: Annotated[
        int, Field(ge=1, le=300, description="detect: most detections a frame")
    ] = 100
    classes: Annotated[
        list[str], Field(description="detect: keep only these, repeated or separated by commas")
    ] = []
    polygons: Annotated[bool, Field(description="segment: outlines too, beside the RLE")] = False
    stride: Annotated[
        int | None,
        Field(
            ge=1, description="temporal: frames from one window to the next; default: the model's"
        ),
    ] = None


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable, `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


class ErrorDetail(BaseModel):
    code: str
    detail: str


class ImageFailure(BaseModel):
    """Stands in the place of an image that failed among several."""

    error: ErrorDetail


class Prediction(BaseModel):
    label: str
    class_id: int
    probability: float = Field(ge=0, le=1)


class Classification(BaseModel):
    predictions: list[Prediction]


class ClassifyAnswer(BaseModel):
    model: str
    version: int
    results: list[Classification | ImageFailure]


class CornersBox(BaseModel):
    x_min: float
    y_min: float
    x_max: float
    y_max: float


class SizeBox(BaseModel):
    x: float
    y: float
    width: float
    height: float


class CenterBox(BaseModel):
    x_center: float
    y_center: float
    width: float
    height: float


class Detection(BaseModel):
    label: str
    class_id: int
    score: float = Field(ge=0, le=1)
    box: CornersBox | SizeBox | CenterBox = Field(
        description="In pixels of the image as displayed, or 0–1"
    )


class DetectResult(BaseModel):
    width: int
    height: int
    candidates: int = Field(description="Boxes over the threshold before NMS")
    kept: int = Field(description="Boxes after NMS, before max_detections")
    detections: list[Detection]


class DetectAnswer(BaseModel):
    model: str
    version: int
    results: list[DetectResult | ImageFailure]


class RunLengths(BaseModel):
    size: tuple[int, int] = Field(description="Height, width")
    counts: str = Field(description="COCO's compressed run lengths")


class SegmentArea(BaseModel):
    label: str
    class_id: int
    area: int = Field(description="In pixels of the image as displayed")
    fraction: float
    confidence: float = Field(description="Mean probability over the area")
    box: CornersBox
    rle: RunLengths
    polygons: list[list[float]] | None = None


class SegmentResult(BaseModel):
    width: int
    height: int
    segments: list[SegmentArea]


class SegmentAnswer(BaseModel):
    model: str
    version: int
    results: list[SegmentResult | ImageFailure]


class Embedding(BaseModel):
    embedding: list[float] = Field(description="The L2-normalized features")


class EmbedAnswer(BaseModel):
    model: str
    version: int
    results: list[Embedding | ImageFailure]


class ExplainAnswer(BaseModel):
    """What every view answers, before its own fields; docs/explain.md describes these."""

    model_config = ConfigDict(extra="allow")

    model: str
    version: int
    view: View


class ClipAnswer(BaseModel):
    """What the file says of itself; `width` and `height` as displayed."""

    container: str
    codec: str
    width: int
    height: int
    rotation: int = Field(description="Degrees that frames were turned counter-clockwise")
    fps: float | None
    seconds: float | None
    decoded: int
    sampled: int
    skipped: int = Field(description="Frames that were never decoded")


class FrameResult(BaseModel):
    """A sampled frame: by task `predictions` and `smoothed`, `detections`, `segments`, `embedding`, or `windows`."""

    model_config = ConfigDict(extra="allow")

    number: int = Field(description="In the clip, from 0")
    time: float = Field(description="Seconds from the clip's start")
    error: ErrorDetail | None = None


class VideoAnswer(BaseModel):
    model: str
    version: int
    task: VideoTask
    video: ClipAnswer
    ended: Literal["complete", "truncated", "limit"]
    detail: str | None = Field(None, description="Why it ended before the clip's end")
    frames: list[FrameResult]
    summary: dict[str, Any] = Field(
        description="classify: `mean`, `smoothed`, `segments`; detect: `tracks`; segment: `areas`; embed: `embedding`; "
        "temporal: `predictions`, `windows`"
    )


class ModelAnswer(BaseModel):
    """A served model: how it is, and its card."""

    name: str
    version: int
    state: str
    reason: str = Field(description="Why it is not ready, else empty")
    device: str
    largest_batch: int | None
    default: bool = Field(description="Whether it answers its task when no model is named")
    card: Card


class ModelsAnswer(BaseModel):
    models: list[ModelAnswer]


def image_body() -> dict[str, Any]:
    """Return the OpenAPI description of a body that is one image, a form of files, or JSON with base64."""
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": BINARY}},
        "required": ["file"],
    }
    content = {
        "image/*": {"schema": BINARY},
        "application/octet-stream": {"schema": BINARY},
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": ImagesAsJson.model_json_schema()},
    }
    return {"requestBody": {"required": True, "content": content}}


def clip_body() -> dict[str, Any]:
    """Return the OpenAPI description of a body that is a clip, or a form with one."""
    form = {"type": "object", "properties": {"file": BINARY}, "required": ["file"]}
    content = {
        "video/*": {"schema": BINARY},
        "application/octet-stream": {"schema": BINARY},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


def answers(schema: type[BaseModel], *others: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of what is answered: JSON by `schema`, or bytes of the other media types."""
    content = {media_type: {"schema": BINARY} for media_type in others}
    errors = problems(400, 404, 413, 415, 422, 500, 503, 504)
    return {200: {"model": schema, "content": content}, **errors}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the errors with these statuses."""
    content = {PROBLEM_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "A problem", "content": content} for status in statuses}
