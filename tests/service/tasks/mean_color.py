"""A task made outside the package, as CONTRIBUTING describes: the mean color of an image."""

from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field
from typing_extensions import TypedDict

from service.card import Card
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.imaging.source_image import SourceImage
from service.tasks.task import OverTime, Task, TaskOptions, drawn


class MeanColorOptions(TaskOptions):
    scale: Annotated[Literal["byte", "unit"], Field(description="0–255, or 0–1")] = "byte"


class MeanColor(TypedDict):
    color: Annotated[list[float], Field(min_length=3, max_length=3, description="R, G, B")]


class ColorsOverTime(TypedDict):
    mean: list[float]


def mean_color(
    outputs: Outputs, source: SourceImage, card: Card, options: MeanColorOptions
) -> MeanColor:
    """Return the mean color: `features` holds the mean of each channel, 0–255."""
    divisor = 255 if options.scale == "unit" else 1
    return {"color": [round(float(value) / divisor, 4) for value in outputs["features"]]}


def swatch(
    outputs: Outputs, source: SourceImage, card: Card, options: MeanColorOptions
) -> Image.Image:
    red, green, blue = np.rint(outputs["features"]).astype(int).tolist()
    return Image.new("RGB", (32, 32), (red, green, blue))


class MeanColorCombiner(Combiner[list[float]]):
    def __init__(self) -> None:
        self._colors: list[list[float]] = []

    def keep(self, outputs: Outputs, source: SourceImage) -> list[float]:
        colors: list[float] = outputs["features"].astype(float).tolist()
        return colors

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        return source.displayed()

    def add(self, seconds: float, kept: list[float]) -> MeanColor:
        self._colors.append(kept)
        return {"color": kept}

    def summary(self) -> ColorsOverTime:
        return {"mean": np.mean(self._colors, axis=0).tolist()}


def begin(options: TaskOptions, card: Card) -> MeanColorCombiner:
    return MeanColorCombiner()


MEAN_COLOR = Task(
    name="mean_color",
    summary="The mean color of each image",
    outputs=("features",),
    options=MeanColorOptions,
    result=MeanColor,
    head=mean_color,
    labeled=False,
    renderings={"swatch": drawn("a square of the color", swatch)},
    over_time=OverTime(TaskOptions, begin, MeanColor, ColorsOverTime),
)
