"""Probabilities frame by frame → the clip's: their mean, smoothed over time, and for how long a class stays on top."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.heads.classify import best_classes
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.imaging.overlay import LabeledBox, draw_boxes
from service.imaging.source_image import SourceImage

Probabilities = NDArray[np.float64]


@dataclass(slots=True)
class _Stretch:
    """Frames in a row with one class on top."""

    class_id: int
    start: float
    end: float
    frames: int = 0
    total: float = 0.0


class ClassifyCombiner(Combiner[Probabilities]):
    """Classes over time.

    Smoothing is exponential with a time constant, so that it means the same at any distance of frames:
    after `smoothing_seconds` what was seen counts 1/e.

    Args:
        labels: K names.
        top_k: classes that are told of, best first.
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
        self._stretches: list[_Stretch] = []

    def keep(self, outputs: Outputs, _: SourceImage) -> Probabilities:
        return outputs["probabilities"].astype(np.float64)

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        best = best_classes(outputs["probabilities"], self._labels, 1)[0]
        return draw_caption(
            source.displayed(), best["label"], best["probability"], best["class_id"]
        )

    def add(self, seconds: float, seen: Probabilities) -> dict[str, Any]:
        self._sum += seen
        self._frames += 1
        smooth = self._smoothed(seconds, seen)
        self._extend(seconds, smooth)
        self._smooth, self._last = smooth, seconds
        return {
            "predictions": best_classes(seen, self._labels, self._top_k),
            "smoothed": best_classes(smooth, self._labels, self._top_k),
        }

    def summary(self) -> dict[str, Any]:
        if self._smooth is None:
            return {"mean": [], "smoothed": [], "segments": []}
        return {
            "mean": best_classes(self._sum / self._frames, self._labels, self._top_k),
            "smoothed": best_classes(self._smooth, self._labels, self._top_k),
            "segments": [
                {
                    "label": self._labels[stretch.class_id],
                    "class_id": stretch.class_id,
                    "start": round(stretch.start, 3),
                    "end": round(stretch.end, 3),
                    "frames": stretch.frames,
                    "probability": round(stretch.total / stretch.frames, 6),
                }
                for stretch in self._stretches
            ],
        }

    def _smoothed(self, seconds: float, seen: Probabilities) -> Probabilities:
        if self._smooth is None or self._smoothing == 0:
            return seen
        kept = math.exp(-max(0.0, seconds - self._last) / self._smoothing)
        smooth: Probabilities = kept * self._smooth + (1 - kept) * seen
        return smooth

    def _extend(self, seconds: float, smooth: Probabilities) -> None:
        best = int(smooth.argmax())
        if not self._stretches or self._stretches[-1].class_id != best:
            self._stretches.append(_Stretch(best, seconds, seconds))
        stretch = self._stretches[-1]
        stretch.end = seconds
        stretch.frames += 1
        stretch.total += float(smooth[best])


def draw_caption(image: Image.Image, label: str, probability: float, class_id: int) -> Image.Image:
    """Return the image with a class written into its upper left corner."""
    corner = LabeledBox((0.0, 0.0, 0.0, 0.0), f"{label} {probability:.0%}", class_id)
    return draw_boxes(image, [corner])
