"""Boxes frame by frame → what is there in each, and the way of each thing through the clip."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from service.heads.detect import DetectionOptions, Detections, find_things
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.heads.over_time.tracks import Track, Tracker
from service.imaging.geometry import Box
from service.imaging.overlay import LabeledBox, draw_boxes
from service.imaging.source_image import SourceImage


class DetectCombiner(Combiner[Detections]):
    """Boxes, joined into tracks.

    Args:
        labels: by class id.
        options: thresholds, limits and wanted classes.
    """

    def __init__(self, labels: Sequence[str], options: DetectionOptions) -> None:
        self._labels = labels
        self._options = options
        self._tracker = Tracker()

    def keep(self, outputs: Outputs, source: SourceImage) -> Detections:
        return find_things(outputs, source, labels=self._labels, options=self._options)

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        boxes = [
            LabeledBox(thing.box, f"{thing.label} {thing.score:.0%}", thing.class_id)
            for thing in self.keep(outputs, source).found
        ]
        return draw_boxes(source.displayed(), boxes)

    def add(self, seconds: float, seen: Detections) -> dict[str, Any]:
        numbers = self._tracker.add(seconds, seen.found)
        return {
            "detections": [
                {
                    "track": number,
                    "label": thing.label,
                    "class_id": thing.class_id,
                    "score": round(thing.score, 6),
                    "box": _corners(thing.box),
                }
                for number, thing in zip(numbers, seen.found, strict=True)
            ]
        }

    def summary(self) -> dict[str, Any]:
        return {"tracks": [_told(track) for track in self._tracker.tracks]}


def _told(track: Track) -> dict[str, Any]:
    scores = [place.score for place in track.path]
    return {
        "track": track.number,
        "label": track.label,
        "class_id": track.class_id,
        "start": round(track.path[0].seconds, 3),
        "end": round(track.path[-1].seconds, 3),
        "frames": len(track.path),
        "score": round(sum(scores) / len(scores), 6),
        "path": [
            {"time": round(place.seconds, 3), "box": _corners(place.box)} for place in track.path
        ],
    }


def _corners(box: Box) -> dict[str, float]:
    names = ("x_min", "y_min", "x_max", "y_max")
    return {name: round(value, 2) for name, value in zip(names, box, strict=True)}
