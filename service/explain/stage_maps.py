"""Inner maps → the channels of each stage that say most, with their figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.card import Stage
from service.heads.rounding import figure, finite


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
        """What is drawn cold: 0 for maps that are never below it, as after ReLU."""
        return min(0.0, float(self.values.min()))

    def figures(self) -> dict[str, Any]:
        return {
            "channel": self.channel,
            "mean": figure(self.mean),
            "max": figure(self.top),
            "deviation": figure(self.deviation),
        }


@dataclass(frozen=True, slots=True)
class StageMaps:
    """A stage and some of its channels, as many places as `height`×`width`."""

    stage: Stage
    height: int
    width: int
    maps: tuple[ChannelMap, ...]

    def figures(self) -> dict[str, Any]:
        return {
            "name": self.stage.name,
            "channels": self.stage.channels,
            "height": self.height,
            "width": self.width,
            "stride": self.stage.stride,
        }


def stage_maps(
    outputs: Mapping[str, NDArray[Any]],
    stages: Sequence[Stage],
    *,
    count: int,
    channel: int | None = None,
) -> list[StageMaps]:
    """Return each stage with its strongest channels, or with the one asked for.

    Strongest is whose values differ most from place to place: a map that is the same everywhere shows nothing.

    Args:
        outputs: holds each stage's tensor, (C, h, w).
        stages: which to look at.
        count: channels a stage at most.
        channel: this one only.
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
