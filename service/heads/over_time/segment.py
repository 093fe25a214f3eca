"""Masks frame by frame → the areas in each, and each class's area over time."""

from typing import Any

from PIL import Image

from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.heads.segment import SegmentClasses, SegmentResult, draw_segments, segment
from service.imaging.source_image import SourceImage


class SegmentCombiner(Combiner[SegmentResult]):
    """Areas over time.

    Args:
        classes: what the ids of a mask mean.
        with_polygons: outlines too.
    """

    def __init__(self, classes: SegmentClasses, *, with_polygons: bool) -> None:
        self._classes = classes
        self._with_polygons = with_polygons
        self._frames = 0
        self._areas: dict[int, list[dict[str, float]]] = {}

    def keep(self, outputs: Outputs, source: SourceImage) -> SegmentResult:
        return segment(outputs, source, classes=self._classes, with_polygons=self._with_polygons)

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        return draw_segments(outputs, source, self._classes)

    def add(self, seconds: float, seen: SegmentResult) -> dict[str, Any]:
        self._frames += 1
        for found in seen["segments"]:
            self._areas.setdefault(found["class_id"], []).append(
                {
                    "time": round(seconds, 3),
                    "area": found["area"],
                    "fraction": found["fraction"],
                }
            )
        return {"segments": seen["segments"]}

    def summary(self) -> dict[str, Any]:
        return {
            "areas": [
                {
                    "label": self._classes.labels[class_id],
                    "class_id": class_id,
                    "frames": len(series),
                    "mean_fraction": round(
                        sum(one["fraction"] for one in series) / self._frames, 6
                    ),
                    "over_time": series,
                }
                for class_id, series in sorted(self._areas.items())
            ]
        }
