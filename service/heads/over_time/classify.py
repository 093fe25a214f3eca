"""Probabilities frame by frame → the video's: their mean, smoothed over time, and the intervals with one best class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.heads.classify import Prediction, best_classes
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.imaging.overlay import LabeledBox, draw_boxes
from service.imaging.source_image import SourceImage

Probabilities = NDArray[np.float64]


@with_config(ConfigDict(extra="forbid"))
class ClassifyFrame(TypedDict):
    predictions: Annotated[
        list[Prediction], Field(description="Of this frame alone: the best classes, best first")
    ]
    smoothed: Annotated[
        list[Prediction], Field(description="Smoothed over the frames so far: the best classes")
    ]


@with_config(ConfigDict(extra="forbid"))
class ClassInterval(TypedDict):
    """Successive frames with one best class."""

    label: str
    class_id: Annotated[int, Field(ge=0)]
    start: Annotated[float, Field(ge=0, description="Time of its first frame, in seconds")]
    end: Annotated[float, Field(ge=0, description="Time of its last frame, in seconds")]
    frames: Annotated[int, Field(ge=1)]
    probability: Annotated[
        float, Field(ge=0, le=1, description="Mean smoothed probability over these frames")
    ]


@with_config(ConfigDict(extra="forbid"))
class ClassifySummary(TypedDict):
    mean: Annotated[
        list[Prediction], Field(description="The best classes by their mean over all frames")
    ]
    smoothed: Annotated[
        list[Prediction], Field(description="The best classes, smoothed, at the video's end")
    ]
    segments: Annotated[
        list[ClassInterval],
        Field(
            description="Intervals with one best class, by smoothed probability, in order of time"
        ),
    ]


@dataclass(slots=True)
class _Interval:
    """Successive frames with one best class; `total` is the sum of its smoothed probabilities."""

    class_id: int
    start: float
    end: float
    frames: int = 0
    total: float = 0.0


class ClassifyCombiner(Combiner[Probabilities]):
    """Classes over time.

    Smoothing is exponential with a time constant in seconds, so that its effect does not depend on the distance between
    frames: the weight of a frame falls to 1/e within `smoothing_seconds`.

    Args:
        labels: K names.
        top_k: how many classes are reported, best first; 1 to K.
        smoothing_seconds: 0 leaves the probabilities as they are.
    """

    def __init__(self, labels: Sequence[str], top_k: int, smoothing_seconds: float) -> None:
        self._labels = labels
        self._top_k = top_k
        self._smoothing = smoothing_seconds
        self._sum: Probabilities = np.zeros(len(labels))
        self._smooth: Probabilities | None = None
        self._frames = 0
        self._last = 0.0
        self._intervals: list[_Interval] = []

    def keep(self, outputs: Outputs, _: SourceImage) -> Probabilities:
        return outputs["probabilities"].astype(np.float64)

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        """Return the frame with its best class written in its upper left corner."""
        best = best_classes(outputs["probabilities"], self._labels, 1)[0]
        return draw_prediction(source.displayed(), best)

    def add(self, seconds: float, kept: Probabilities) -> ClassifyFrame:
        self._sum += kept
        self._frames += 1
        smooth = self._smoothed(seconds, kept)
        self._extend(seconds, smooth)
        self._smooth, self._last = smooth, seconds
        return {"predictions": self._best(kept), "smoothed": self._best(smooth)}

    def summary(self) -> ClassifySummary:
        if self._smooth is None:
            return {"mean": [], "smoothed": [], "segments": []}
        return {
            "mean": self._best(self._sum / self._frames),
            "smoothed": self._best(self._smooth),
            "segments": [self._reported(interval) for interval in self._intervals],
        }

    def _best(self, probabilities: Probabilities) -> list[Prediction]:
        return best_classes(probabilities, self._labels, self._top_k)

    def _reported(self, interval: _Interval) -> ClassInterval:
        return {
            "label": self._labels[interval.class_id],
            "class_id": interval.class_id,
            "start": round(interval.start, 3),
            "end": round(interval.end, 3),
            "frames": interval.frames,
            "probability": round(interval.total / interval.frames, 6),
        }

    def _smoothed(self, seconds: float, probabilities: Probabilities) -> Probabilities:
        if self._smooth is None or self._smoothing == 0:
            return probabilities
        weight = math.exp(-max(0.0, seconds - self._last) / self._smoothing)
        smooth: Probabilities = weight * self._smooth + (1 - weight) * probabilities
        return smooth

    def _extend(self, seconds: float, smooth: Probabilities) -> None:
        best = int(smooth.argmax())
        if not self._intervals or self._intervals[-1].class_id != best:
            self._intervals.append(_Interval(best, seconds, seconds))
        interval = self._intervals[-1]
        interval.end = seconds
        interval.frames += 1
        interval.total += float(smooth[best])


def draw_prediction(image: Image.Image, prediction: Prediction) -> Image.Image:
    """Return a copy of the image, mode RGB, with a class and its probability written in its upper left corner."""
    text = f"{prediction['label']} {prediction['probability']:.0%}"
    corner = LabeledBox((0.0, 0.0, 0.0, 0.0), text, prediction["class_id"])
    return draw_boxes(image.copy(), [corner])
