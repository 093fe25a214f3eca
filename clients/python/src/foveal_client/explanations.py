"""What an explanation holds, by its view: `found["view"]` says which of these types it is.

`width` and `height` are those of the image as displayed, in pixels. A test of the service holds each type against
docs/openapi.json.
"""

from typing import Literal, NotRequired, TypedDict

from foveal_client.figures import (
    ActivationFigures,
    AreaFigures,
    ArrayFiles,
    BoxFigures,
    CellValue,
    ClassFigures,
    ContributionFigures,
    ConvolutionFigures,
    CurveFigures,
    FeatureFigures,
    FieldFigures,
    FilterFigures,
    FilterMapFigures,
    HeatFigures,
    LayerFigures,
    PatchFigures,
    PatternFigures,
    PeakFigures,
    PoolingFigures,
    RestFigures,
    ScoreFigures,
    SilhouetteFigures,
    StageFigures,
    TensorFigures,
)
from foveal_client.types import CornersBox, Prediction


class InputExplanation(TypedDict):
    model: str
    version: int
    view: Literal["input"]
    width: int
    height: int
    # The part of the displayed image that they cover; may reach beyond.
    box: CornersBox
    # `normalized` is there if the network begins with a convolution.
    tensors: list[TensorFigures]


class FiltersExplanation(TypedDict):
    model: str
    version: int
    view: Literal["filters"]
    layer: LayerFigures
    filters: list[FilterFigures]


class ConvolutionExplanation(TypedDict):
    model: str
    version: int
    view: Literal["convolution"]
    width: int
    height: int
    # The part of the displayed image that a map covers; may reach beyond.
    box: CornersBox
    layer: ConvolutionFigures
    # The strongest first.
    filters: list[FilterMapFigures]
    filter: int
    row: int
    column: int
    patch: PatchFigures
    # [channel][row][column], a batch normalization that follows folded in.
    weights: list[list[list[float]]]
    products: list[list[list[float]]]
    bias: float
    # Of the products and the bias.
    sum: CellValue
    # What follows: an activation, a pooling, or both.
    steps: list[ActivationFigures | PoolingFigures]
    # With `arrays`.
    arrays: NotRequired[ArrayFiles]


class MapsExplanation(TypedDict):
    model: str
    version: int
    view: Literal["maps"]
    width: int
    height: int
    # The part of the displayed image that every map covers; may reach beyond.
    box: CornersBox
    stages: list[StageFigures]


class PatternsExplanation(TypedDict):
    model: str
    version: int
    view: Literal["patterns"]
    width: int
    height: int
    stage: str
    channel: int
    receptive_field: FieldFigures
    # Highest first.
    peaks: list[PatternFigures]


class LogitExplanation(TypedDict):
    model: str
    version: int
    view: Literal["logit"]
    width: int
    height: int
    target: ClassFigures
    # How many features the last layer weighs.
    features: int
    # The stage whose channels, each averaged over its map, are the features; null where they are no such averages.
    stage: str | None
    # What speaks for the class, most first.
    positive: list[ContributionFigures]
    # What speaks against it, most first.
    negative: list[ContributionFigures]
    positive_rest: RestFigures
    negative_rest: RestFigures
    bias: float
    # Of all contributions and the bias.
    sum: float
    # What the network computed; equal but for rounding.
    logit: float


class HeatExplanation(TypedDict):
    """What all explanations by a heat map hold; `method` says how it was made."""

    model: str
    version: int
    width: int
    height: int
    target: ClassFigures | BoxFigures | AreaFigures | FeatureFigures
    heat: HeatFigures
    peak: PeakFigures
    scores: NotRequired[ScoreFigures]
    # What the time did not suffice for, if it makes a difference.
    detail: NotRequired[str]


class CamExplanation(HeatExplanation):
    view: Literal["cam"]
    method: Literal["cam", "eigencam", "rise"]
    stage: NotRequired[str]
    samples: NotRequired[int]
    seed: NotRequired[int]


class OcclusionExplanation(HeatExplanation):
    view: Literal["occlusion"]
    method: Literal["occlusion"]
    samples: int


class RiseExplanation(HeatExplanation):
    view: Literal["rise"]
    method: Literal["rise"]
    samples: int
    seed: int


class ProbeExplanation(TypedDict):
    model: str
    version: int
    view: Literal["probe"]
    width: int
    height: int
    target: ClassFigures
    curves: list[CurveFigures]
    # Null where no model could draw it, or found no thing.
    silhouette: SilhouetteFigures | None
    # The probability after shuffling 4 by 4 patches.
    texture: float
    # The probability of the silhouette.
    shape: float | None
    # shape ÷ (shape + texture); null where both are too low to compare.
    shape_share: float | None
    seed: int


class StoryExplanation(TypedDict):
    model: str
    version: int
    view: Literal["story"]
    width: int
    height: int
    target: ClassFigures | BoxFigures | AreaFigures | FeatureFigures
    # How many filters the first convolution has.
    filters: int
    # Each with its strongest channel only.
    stages: list[StageFigures]
    # How `heat` was made.
    method: Literal["cam", "eigencam"]
    heat: HeatFigures
    peak: PeakFigures
    # For tasks that predict classes.
    predictions: NotRequired[list[Prediction]]


ExplainResponse = (
    InputExplanation
    | FiltersExplanation
    | ConvolutionExplanation
    | MapsExplanation
    | PatternsExplanation
    | LogitExplanation
    | CamExplanation
    | OcclusionExplanation
    | RiseExplanation
    | ProbeExplanation
    | StoryExplanation
)
