"""What `models()` returns: the versions that are served with their cards, the chains, and what is not served."""

from typing import Any, Literal, NotRequired, TypedDict

# A model's card.


class ImageInput(TypedDict):
    """How an image becomes the network's frame, uint8 (height, width, 3)."""

    height: int
    width: int
    resize: NotRequired[Literal["crop", "stretch", "letterbox"]]
    shorter_side: NotRequired[int | None]
    interpolation: NotRequired[
        Literal["nearest", "linear", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    ]
    pad_color: NotRequired[list[int]]
    placement: NotRequired[Literal["center", "corner"] | None]


class Window(TypedDict):
    """How many frames a temporal head reads at once, at which rate, and how far apart windows begin."""

    frames: int
    stride: int
    fps: float


class Stage(TypedDict):
    name: str
    tensor: str
    channels: int
    stride: float


class Cost(TypedDict):
    """What one image costs; `macs` are multiply-accumulates."""

    parameters: int
    macs: int
    activation_bytes: int


class Normalization(TypedDict):
    """The network reads (byte · scale − mean) / std; nobody stated what is in `assumed`."""

    scale: float
    mean: list[float]
    std: list[float]
    color: Literal["rgb", "bgr", "gray"]
    assumed: NotRequired[list[Literal["mean", "std"]]]


class BoxForm(TypedDict):
    """How the numbers of a detector's own boxes were read; nobody stated or saw what is in `assumed`."""

    format: Literal["xyxy", "yxyx", "xywh", "yxhw", "cxcywh", "cycxhw", "grid"]
    unit: Literal["frame", "pixel"]
    assumed: NotRequired[list[Literal["format", "unit", "nms_free", "background"]]]


class CutCandidates(TypedDict):
    """On `images` of the `of` images of the proof, objects of a score below `below` may be lost."""

    images: int
    of: int
    below: float


class Accuracy(TypedDict):
    images: int
    scores: dict[str, float]
    reference: NotRequired[dict[str, float]]
    by_label: NotRequired[dict[str, dict[str, float]]]


class Variant(TypedDict):
    of_sha256: str
    reference_sha256: str
    agreement: dict[str, float]


class Certificate(TypedDict):
    """The proof that the file is the network that it was made from."""

    reference: str
    batches: list[int]
    max_difference: float
    tolerance: float
    metric: Literal["top1", "exact_match", "mask_iou", "map50", "cosine"]
    agreement: float
    images: int
    tools: dict[str, str]
    date: str
    graph_sha256: str
    digest: NotRequired[Literal[1, 2]]
    data_sha256: NotRequired[str | None]


class Card(TypedDict):
    """What a model says of itself."""

    format: NotRequired[Literal[1]]
    name: str
    task: str
    title: str
    description: NotRequired[str]
    labels: NotRequired[list[str]]
    multi_label: NotRequired[bool]
    license: str
    source: str
    input: NotRequired[ImageInput | None]
    backbone: NotRequired[str | None]
    backbone_sha256: NotRequired[str | None]
    window: NotRequired[Window | None]
    background_id: NotRequired[int | None]
    nms_free: NotRequired[bool | None]
    max_batch: NotRequired[int | None]
    stages: NotRequired[list[Stage]]
    cost: Cost
    precision: NotRequired[Literal["fp32", "fp16", "bf16", "int8"]]
    scores: NotRequired[dict[str, float]]
    normalization: NotRequired[Normalization | None]
    boxes: NotRequired[BoxForm | None]
    cut: NotRequired[CutCandidates | None]
    accuracy: NotRequired[Accuracy | None]
    variant: NotRequired[Variant | None]
    certificate: Certificate


# Models and their precisions.


class Way(TypedDict):
    """One way to serve a model, and what was measured of it."""

    precision: str
    device: str
    seven_bits: NotRequired[bool]
    milliseconds: NotRequired[float | None]
    speedup: NotRequired[float | None]
    agreement: NotRequired[dict[str, float]]
    refused: NotRequired[str]
    serves: NotRequired[bool]


class Choice(TypedDict):
    chip: str
    frames: int
    ways: list[Way]


class ModelState(TypedDict):
    name: str
    version: int
    state: Literal["loading", "ready", "asleep", "failed"]
    reason: str
    device: str
    precision: str
    largest_batch: int | None
    default: bool
    memory_bytes: int
    aliases: list[str]
    share: float | None
    shadow: bool
    choice: Choice | None
    card: Card


class RefusedModel(TypedDict):
    name: str
    version: str
    reason: str


# Chains.


class Step(TypedDict):
    """A step as `chain.toml` states it; `of` names the step whose boxes it reads."""

    name: str
    task: str
    model: str
    version: NotRequired[int | None]
    options: NotRequired[dict[str, Any]]
    boxes: NotRequired[dict[str, Any]]
    of: NotRequired[str | None]
    labels: NotRequired[list[str]]
    margin: NotRequired[float]
    square: NotRequired[bool]
    background: NotRequired[Literal["keep", "mean"]]
    max_boxes: NotRequired[int]
    min_side: NotRequired[float]


class ChainState(TypedDict):
    name: str
    title: str
    description: str
    state: Literal["ready", "failed"]
    reason: str
    default: bool
    steps: list[Step]


class ModelStates(TypedDict):
    models: list[ModelState]
    chains: NotRequired[list[ChainState]]
    not_served: list[RefusedModel]
