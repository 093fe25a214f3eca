"""Inner maps → the strongest channels of each stage, with their statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.card import Stage
from service.heads.outputs import Outputs
from service.heads.rounding import figure, finite
from service.imaging.colormap import levels


@with_config(ConfigDict(extra="forbid"))
class ChannelFigures(TypedDict):
    """One channel of a stage: statistics over the places of its map."""

    channel: int
    mean: float
    max: float
    deviation: Annotated[float, Field(description="The standard deviation")]
    thumbnail: NotRequired[
        Annotated[str, Field(description="The map as a PNG in a `data:` URL; with `thumbnails`")]
    ]
    values: NotRequired[
        Annotated[
            list[list[float]],
            Field(description="The map by rows, from the top; with `channel`"),
        ]
    ]


@with_config(ConfigDict(extra="forbid"))
class StageFigures(TypedDict):
    """A stage, and some of its channels: the strongest first."""

    name: str
    channels: Annotated[int, Field(description="How many channels the stage has")]
    height: int
    width: int
    stride: Annotated[float, Field(description="Pixels of the frame from one place to the next")]
    maps: list[ChannelFigures]


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """One channel's map, float32 (h, w), and its mean, maximum and standard deviation over the places."""

    channel: int
    values: NDArray[np.float32]
    mean: float
    top: float
    deviation: float

    @property
    def low(self) -> float:
        """The value that is drawn cold: 0 for maps that are never below it, as after ReLU; else the least value."""
        return min(0.0, float(self.values.min()))

    @property
    def levels(self) -> NDArray[np.uint8]:
        """The map as 0–255, uint8 (h, w): `low` is 0, `top` is 255."""
        return levels(self.values, self.low, self.top)

    def figures(self) -> ChannelFigures:
        """Return the statistics as JSON."""
        return {
            "channel": self.channel,
            "mean": figure(self.mean),
            "max": figure(self.top),
            "deviation": figure(self.deviation),
        }


@dataclass(frozen=True, slots=True)
class StageMaps:
    """A stage and some of its channels; their maps have `height` × `width` places."""

    stage: Stage
    height: int
    width: int
    maps: tuple[ChannelMap, ...]

    @property
    def caption(self) -> str:
        """The stage's size in words."""
        return (
            f"{self.stage.channels} channels of {self.height} by {self.width}, "
            f"a place every {self.stage.stride:g} pixels"
        )

    def figures(self, maps: list[ChannelFigures]) -> StageFigures:
        """Return the stage as JSON, with the JSON of its channels."""
        return {
            "name": self.stage.name,
            "channels": self.stage.channels,
            "height": self.height,
            "width": self.width,
            "stride": self.stage.stride,
            "maps": maps,
        }


def stage_maps(
    outputs: Outputs,
    stages: Sequence[Stage],
    *,
    count: int,
    channel: int | None = None,
) -> list[StageMaps]:
    """Return each stage with its strongest channels, or with the one that is named.

    The strength of a channel is the standard deviation over its places: a map that is the same everywhere shows
    nothing.

    Args:
        outputs: holds each stage's tensor, (C, h, w).
        stages: the stages to read.
        count: how many channels of each stage at most.
        channel: the only channel to return; None returns the strongest.
    """
    return [_stage(finite(outputs[stage.tensor]), stage, count, channel) for stage in stages]


def _stage(values: NDArray[np.float32], stage: Stage, count: int, channel: int | None) -> StageMaps:
    flat = values.reshape(len(values), -1)
    deviation = flat.std(axis=1)
    strongest = np.argsort(-deviation, kind="stable")[:count].tolist()
    chosen = strongest if channel is None else [channel]
    maps = tuple(
        ChannelMap(
            index,
            values[index],
            float(flat[index].mean()),
            float(flat[index].max()),
            float(deviation[index]),
        )
        for index in chosen
    )
    return StageMaps(stage, values.shape[1], values.shape[2], maps)
