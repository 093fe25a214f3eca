"""Boxes frame by frame → the things in each frame, joined into tracks through the video."""

from collections.abc import Sequence
from typing import Annotated

from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.heads.boxes import CornersBox, corners
from service.heads.detect import DetectionOptions, Detections, draw_detections, find_things
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.heads.over_time.tracks import Track, Tracker
from service.imaging.source_image import SourceImage


@with_config(ConfigDict(extra="forbid"))
class TrackedObject(TypedDict):
    track: Annotated[int, Field(ge=1, description="The same number in every frame, for one thing")]
    label: str
    class_id: Annotated[int, Field(ge=0)]
    score: Annotated[float, Field(ge=0, le=1)]
    box: Annotated[CornersBox, Field(description="In pixels of the frame as displayed")]


@with_config(ConfigDict(extra="forbid"))
class DetectFrame(TypedDict):
    detections: Annotated[list[TrackedObject], Field(description="The things, best first")]


@with_config(ConfigDict(extra="forbid"))
class TrackPoint(TypedDict):
    time: Annotated[float, Field(ge=0, description="Seconds from the video's start")]
    box: Annotated[CornersBox, Field(description="In pixels of the frame as displayed")]


@with_config(ConfigDict(extra="forbid"))
class TrackSummary(TypedDict):
    track: Annotated[int, Field(ge=1, description="As in the frames")]
    label: str
    class_id: Annotated[int, Field(ge=0)]
    start: Annotated[float, Field(ge=0, description="Time of its first frame, in seconds")]
    end: Annotated[float, Field(ge=0, description="Time of its last frame, in seconds")]
    frames: Annotated[int, Field(ge=1, description="In how many frames it was found")]
    score: Annotated[float, Field(ge=0, le=1, description="Mean over these frames")]
    path: Annotated[list[TrackPoint], Field(description="Its box in each of these frames")]


@with_config(ConfigDict(extra="forbid"))
class DetectSummary(TypedDict):
    tracks: Annotated[list[TrackSummary], Field(description="In the order of their first frames")]


class DetectCombiner(Combiner[Detections]):
    """Detections of frames, joined into tracks. Boxes are in pixels of the displayed frame.

    Args:
        labels: by class id.
        options: thresholds, limits and wanted classes; `box_format` and `normalized` have no effect.
    """

    def __init__(self, labels: Sequence[str], options: DetectionOptions) -> None:
        self._labels = labels
        self._options = options
        self._tracker = Tracker()

    def keep(self, outputs: Outputs, source: SourceImage) -> Detections:
        return find_things(outputs, source, labels=self._labels, options=self._options)

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        return draw_detections(outputs, source, labels=self._labels, options=self._options)

    def add(self, seconds: float, kept: Detections) -> DetectFrame:
        numbers = self._tracker.add(seconds, kept.found)
        return {
            "detections": [
                {
                    "track": number,
                    "label": thing.label,
                    "class_id": thing.class_id,
                    "score": round(thing.score, 6),
                    "box": corners(thing.box),
                }
                for number, thing in zip(numbers, kept.found, strict=True)
            ]
        }

    def summary(self) -> DetectSummary:
        return summarize(self._tracker)


def summarize(tracker: Tracker) -> DetectSummary:
    """Return all tracks of a video as JSON."""
    return {"tracks": [_summarized(track) for track in tracker.tracks]}


def _summarized(track: Track) -> TrackSummary:
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
            {"time": round(place.seconds, 3), "box": corners(place.box)} for place in track.path
        ],
    }
