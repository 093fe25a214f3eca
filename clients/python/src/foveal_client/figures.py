"""The parts of explanations; `explanations` has the wholes.

Thumbnails and arrays are `data:` URLs. A test of the service holds each type against docs/openapi.json.
"""

from typing import Literal, NotRequired, TypedDict

from foveal_client.types import CornersBox


class ChannelNumbers(TypedDict):
    """One channel of a tensor."""

    channel: int
    min: float
    max: float
    mean: float
    # The standard deviation.
    deviation: float
    # The channel as a PNG in a `data:` URL, its least value black and its largest white; with `thumbnails`.
    thumbnail: NotRequired[str]


class TensorFigures(TypedDict):
    """One tensor of the image."""

    # `frame`: what the file of the network reads; `normalized`: what its first convolution reads.
    tensor: Literal["frame", "normalized"]
    dtype: str
    # With the axis of the batch.
    shape: list[int]
    layout: Literal["NHWC", "NCHW"]
    channels: list[ChannelNumbers]


class LayerFigures(TypedDict):
    """The first convolution."""

    filters: int
    channels: int
    height: int
    width: int
    # Down, across.
    stride: list[int]


class FilterFigures(TypedDict):
    """One filter."""

    filter: int
    # Its Euclidean length.
    norm: float
    # The share of its energy that is not gray: 0 reads brightness, 1 color.
    color: float
    # A PNG in a `data:` URL; with `thumbnails`.
    thumbnail: NotRequired[str]


class ConvolutionFigures(TypedDict):
    """The first convolution. Pairs are down and across."""

    filters: int
    # That a filter reads.
    channels: int
    height: int
    width: int
    stride: list[int]
    dilation: list[int]
    # Channels, height and width of what it reads.
    input: list[int]
    # Height and width of a map.
    map: list[int]


class FilterMapFigures(TypedDict):
    """A filter and its map, after the activation if that comes first."""

    filter: int
    max: float
    # The standard deviation over the cells.
    deviation: float
    # A PNG in a `data:` URL; with `thumbnails`.
    filter_thumbnail: NotRequired[str]
    # A PNG in a `data:` URL; with `thumbnails`.
    map_thumbnail: NotRequired[str]


class PatchFigures(TypedDict):
    """The part of the convolution's input that lies under the filter; grids are [channel][row][column]."""

    # Of its first number in the input; negative in padding.
    row: int
    column: int
    first_channel: int
    # In pixels of the image as displayed.
    box: CornersBox
    # 0 in padding.
    values: list[list[list[float]]]
    # By rows: whether it is padding.
    padding: list[list[bool]]


class CellValue(TypedDict):
    """A number that was computed twice."""

    # Multiplied out here, in double precision.
    value: float
    # What the network computed in this place.
    network: float


class ActivationFigures(CellValue):
    """An activation function and what it makes of the number before it."""

    step: Literal["activation"]
    # `relu`, `clip`, `leaky_relu`, `elu`, `tanh`, `sigmoid`, `softplus`, `hard_sigmoid`, `silu` or `hard_swish`.
    name: str
    parameters: dict[str, float]


class PoolingFigures(CellValue):
    """A pooling, at the place whose window holds the cell. Pairs are down and across."""

    step: Literal["pooling"]
    name: Literal["max", "average"]
    height: int
    width: int
    stride: list[int]
    # Of the place in the pooled map.
    row: int
    column: int
    # Of the window in the map; negative in padding.
    first_row: int
    first_column: int
    # What the network computed in the window; null in padding.
    values: list[list[float | None]]


class ArrayFiles(TypedDict):
    """Arrays as `data:` URLs of files of NumPy."""

    # That of `view=input`, uint8 (1, H, W, 3).
    frame: str
    # That of `view=input`, float32 (1, C, H, W).
    normalized: str
    # The map of the filter, float32 (h, w).
    map: str


class ChannelFigures(TypedDict):
    """One channel of a stage: statistics over the places of its map."""

    channel: int
    mean: float
    max: float
    # The standard deviation.
    deviation: float
    # The map as a PNG in a `data:` URL; with `thumbnails`.
    thumbnail: NotRequired[str]
    # The map by rows, from the top; with `channel`.
    values: NotRequired[list[list[float]]]


class StageFigures(TypedDict):
    """A stage, and some of its channels: the strongest first."""

    name: str
    # How many channels the stage has.
    channels: int
    height: int
    width: int
    # Pixels of the frame from one place to the next.
    stride: float
    maps: list[ChannelFigures]


class FieldFigures(TypedDict):
    """A receptive field, in pixels of the network's frame."""

    # Null where the whole image has influence.
    height: float | None
    # Null where the whole image has influence.
    width: float | None
    # The side of the part that matters (Luo et al. 2016).
    effective: float


class PatternFigures(TypedDict):
    """A place of a channel's map where it is high."""

    value: float
    row: int
    column: int
    # What reaches the place, in pixels of the displayed image.
    box: CornersBox
    # The crop as a PNG in a `data:` URL; with `thumbnails`.
    thumbnail: NotRequired[str]


class ClassFigures(TypedDict):
    """A class of a classifier."""

    label: str
    class_id: int
    probability: float
    logit: float
    # With an exact CAM: the logit is this plus the mean of `heat`.
    bias: NotRequired[float]


class ContributionFigures(TypedDict):
    """What one feature adds to the logit."""

    # The feature's place in the vector, from 0.
    channel: int
    # Its value for this image.
    feature: float
    # Its weight for the class.
    weight: float
    # Their product.
    contribution: float


class RestFigures(TypedDict):
    """The features of one sign that are not listed."""

    features: int
    # The sum of their products.
    contribution: float


class BoxFigures(TypedDict):
    """A detection."""

    label: str
    class_id: int
    score: float
    # In pixels of the image as displayed.
    box: CornersBox
    # Its place among the detections; 0 is the best.
    index: int


class AreaFigures(TypedDict):
    """The area of a class in a mask."""

    label: str
    class_id: int
    # The area's share of the network's frame.
    fraction: float


class FeatureFigures(TypedDict):
    """A feature vector."""

    # The vector's length.
    features: int


class HeatFigures(TypedDict):
    """A heat map; `height` rows of `width` values over the network's frame."""

    height: int
    width: int
    # By rows, from the top.
    values: list[list[float]]
    # Values up to this one are drawn cold.
    low: float
    # Values from this one on are drawn hot.
    high: float
    # The part of the displayed image that the map covers; may reach beyond.
    box: CornersBox


class PeakFigures(TypedDict):
    """The center of the hottest cell on the image, in pixels of the image as displayed."""

    x: float
    y: float
    value: float


class ScoreFigures(TypedDict):
    """The areas under both curves, 0–1, and their points."""

    # Mean score while the hottest pixels appear; higher is better.
    insertion: float
    # Mean score while the hottest pixels vanish; lower is better.
    deletion: float
    steps: int
    # `steps` + 1 scores.
    insertion_curve: list[float]
    # `steps` + 1 scores.
    deletion_curve: list[float]


class PointFigures(TypedDict):
    """One perturbed copy."""

    amount: float
    # Of the target's class.
    probability: float
    # The label of the most probable class.
    top: str


class CurveFigures(TypedDict):
    """The probability by the strength of one perturbation."""

    perturbation: Literal["rotation", "scale", "blur", "jpeg", "shuffle"]
    # Of `amount`.
    unit: str
    points: list[PointFigures]


class SilhouetteFigures(TypedDict):
    """The silhouette of the image's main thing, black on white."""

    # Of the target's class.
    probability: float
    # The label of the most probable class.
    top: str
    # The model that separated the thing from its background.
    by: str
