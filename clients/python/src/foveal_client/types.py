"""What goes into requests and what answers hold, named and formed as in the service's OpenAPI document.

A test of the service holds each of these types against docs/openapi.json.
"""

from os import PathLike
from typing import Any, Literal, NotRequired, TypedDict

Image = bytes | str | PathLike[str]
"""An encoded image: its bytes, or the path of its file."""

Video = bytes | str | PathLike[str]
"""A video file: its bytes, or its path. A file is sent as it is read."""

# Options: all may be left out; the service's own defaults count then.


class ModelOptions(TypedDict, total=False):
    """Which model: `name`, `name:version` or `name@alias`; without it the task's default."""

    model: str
    version: int


class ClassifyOptions(ModelOptions, total=False):
    top_k: int


class SegmentOptions(ModelOptions, total=False):
    polygons: bool


class DetectOptions(ModelOptions, total=False):
    score_threshold: float
    iou_threshold: float
    max_detections: int
    classes: list[str]
    nms: Literal["per_class", "agnostic", "none", "soft"]


class EmbedOptions(ModelOptions, total=False):
    pass


class ChainOptions(TypedDict, total=False):
    """Which chain; without it the default one."""

    model: str


View = Literal[
    "input",
    "filters",
    "convolution",
    "maps",
    "patterns",
    "logit",
    "cam",
    "occlusion",
    "rise",
    "probe",
    "story",
]


class ExplainOptions(ModelOptions, total=False):
    """`class_` is the parameter `class`, which is a keyword of Python. Which options count depends on the view."""

    arrays: bool
    filter: int
    row: int
    column: int
    tensor: Literal["frame", "normalized"]
    stage: str
    channel: int
    channels: int
    count: int
    class_: str
    box: int
    method: Literal["auto", "cam", "eigencam", "rise"]
    samples: int
    seed: int
    score: bool
    steps: int
    thumbnails: bool


class VideoOptions(ModelOptions, total=False):
    task: Literal["classify", "segment", "detect", "embed", "temporal", "chain"]
    fps: float
    every_n: int
    max_frames: int
    top_k: int
    smoothing_seconds: float
    polygons: bool
    score_threshold: float
    iou_threshold: float
    max_detections: int
    classes: list[str]
    stride: int


# Results


class CornersBox(TypedDict):
    """In pixels of the image as displayed, from its upper left corner."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


class Prediction(TypedDict):
    label: str
    class_id: int
    probability: float


class Classification(TypedDict):
    predictions: list[Prediction]


class RunLengths(TypedDict):
    """COCO's compressed run-length encoding; `size` is height and width."""

    size: list[int]
    counts: str


class Segment(TypedDict):
    label: str
    class_id: int
    area: int
    fraction: float
    confidence: float
    box: CornersBox
    rle: RunLengths
    polygons: NotRequired[list[list[float]]]


class SegmentResult(TypedDict):
    width: int
    height: int
    segments: list[Segment]


class DetectedObject(TypedDict):
    label: str
    class_id: int
    score: float
    box: CornersBox


class DetectResult(TypedDict):
    width: int
    height: int
    candidates: int
    kept: int
    detections: list[DetectedObject]


class Embedding(TypedDict):
    embedding: list[float]


class ServedStep(TypedDict):
    """A step of a chain, and the model that ran it."""

    name: str
    task: str
    model: str
    version: int


class ChainFault(TypedDict):
    code: str
    detail: str


class ChainAnswer(TypedDict):
    """What a step says of a box: `result`, or `error`.

    `crop` is what the step saw, in pixels of the image as displayed; a square may reach beyond it. `result` is the
    task's own result, as if the crop was sent alone; where another step crops what this one finds, it is `found` and
    `boxes` again.
    """

    crop: CornersBox
    result: NotRequired[dict[str, Any]]
    error: NotRequired[ChainFault]


class ChainBox(TypedDict):
    """`answers` are by the name of the step; a step that did not read this box is missing."""

    label: str
    class_id: int
    score: float
    box: CornersBox
    answers: dict[str, ChainAnswer]


class TrackedChainBox(ChainBox):
    track: int


class ChainResult(TypedDict):
    """`found` is how many boxes the first step has found."""

    width: int
    height: int
    found: int
    boxes: list[ChainBox]


# Events of a video. What a frame or a summary holds depends on the task.


class ErrorDetail(TypedDict):
    code: str
    detail: str


class VideoFile(TypedDict):
    container: str
    codec: str
    width: int
    height: int
    rotation: int
    fps: float | None
    seconds: float | None


class TrackedObject(DetectedObject):
    track: int


class WindowResult(TypedDict):
    start: float
    end: float
    predictions: list[Prediction]


class StartEvent(TypedDict):
    """`model` and `version` are of a task, `chain` and `steps` of a chain."""

    event: Literal["start"]
    task: str
    expected: int | None
    video: VideoFile
    model: NotRequired[str]
    version: NotRequired[int]
    chain: NotRequired[str]
    steps: NotRequired[list[ServedStep]]


class FrameEvent(TypedDict):
    """A frame with what its task found in it, or with `error`."""

    event: Literal["frame"]
    done: int
    of: int | None
    number: int
    time: float
    predictions: NotRequired[list[Prediction]]
    smoothed: NotRequired[list[Prediction]]
    segments: NotRequired[list[Segment]]
    detections: NotRequired[list[TrackedObject]]
    embedding: NotRequired[list[float]]
    similarity_to_last: NotRequired[float | None]
    windows: NotRequired[list[WindowResult]]
    found: NotRequired[int]
    boxes: NotRequired[list[TrackedChainBox]]
    error: NotRequired[ErrorDetail]


class FrameCounts(TypedDict):
    decoded: int
    sampled: int
    skipped: int


class TrackPoint(TypedDict):
    time: float
    box: CornersBox


class TrackSummary(TypedDict):
    track: int
    label: str
    class_id: int
    start: float
    end: float
    frames: int
    score: float
    path: list[TrackPoint]


class ClassInterval(TypedDict):
    """Successive frames with one best class."""

    label: str
    class_id: int
    start: float
    end: float
    frames: int
    probability: float


class AreaPoint(TypedDict):
    time: float
    area: int
    fraction: float


class ClassArea(TypedDict):
    label: str
    class_id: int
    frames: int
    mean_fraction: float
    over_time: list[AreaPoint]


class VideoSummary(TypedDict):
    """`mean`, `smoothed`, `segments` of classify; `areas` of segment; `tracks` of detect and of chains; and so on."""

    mean: NotRequired[list[Prediction]]
    smoothed: NotRequired[list[Prediction]]
    segments: NotRequired[list[ClassInterval]]
    areas: NotRequired[list[ClassArea]]
    tracks: NotRequired[list[TrackSummary]]
    embedding: NotRequired[list[float]]
    predictions: NotRequired[list[Prediction]]
    windows: NotRequired[list[WindowResult]]
    detail: NotRequired[str]


class SummaryEvent(TypedDict):
    event: Literal["summary"]
    ended: Literal["complete", "truncated", "limit"]
    detail: NotRequired[str]
    counts: FrameCounts
    summary: VideoSummary


VideoEvent = StartEvent | FrameEvent | SummaryEvent
