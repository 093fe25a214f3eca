"""Masks frame by frame → the areas in each frame, and the area of each class over time."""

from typing import Annotated

from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.heads.segment import Segment, SegmentClasses, SegmentResult, draw_segments, segment
from service.imaging.source_image import SourceImage


@with_config(ConfigDict(extra="forbid"))
class SegmentFrame(TypedDict):
    segments: Annotated[
        list[Segment],
        Field(description="The classes that are present, without the background, largest first"),
    ]


@with_config(ConfigDict(extra="forbid"))
class AreaPoint(TypedDict):
    time: Annotated[float, Field(ge=0, description="Seconds from the video's start")]
    area: Annotated[int, Field(ge=1, description="In pixels of the frame as displayed")]
    fraction: Annotated[
        float, Field(ge=0, le=1, description="`area` as a share of all pixels of the frame")
    ]


@with_config(ConfigDict(extra="forbid"))
class ClassArea(TypedDict):
    label: str
    class_id: Annotated[int, Field(ge=0)]
    frames: Annotated[int, Field(ge=1, description="In how many frames the class is present")]
    mean_fraction: Annotated[
        float,
        Field(ge=0, le=1, description="Mean over all frames; 0 for a frame without the class"),
    ]
    over_time: Annotated[
        list[AreaPoint], Field(description="The frames in which the class is present")
    ]


@with_config(ConfigDict(extra="forbid"))
class SegmentSummary(TypedDict):
    areas: Annotated[
        list[ClassArea], Field(description="Each class that was present, in the order of ids")
    ]


class SegmentCombiner(Combiner[SegmentResult]):
    """Areas over time; see `segment` for what counts as area and what a fraction is a share of.

    Args:
        classes: the meaning of the ids.
        with_polygons: adds outlines.
    """

    def __init__(self, classes: SegmentClasses, *, with_polygons: bool) -> None:
        self._classes = classes
        self._with_polygons = with_polygons
        self._frames = 0
        self._areas: dict[int, list[AreaPoint]] = {}

    def keep(self, outputs: Outputs, source: SourceImage) -> SegmentResult:
        return segment(outputs, source, classes=self._classes, with_polygons=self._with_polygons)

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        return draw_segments(outputs, source, self._classes)

    def add(self, seconds: float, kept: SegmentResult) -> SegmentFrame:
        self._frames += 1
        time = round(seconds, 3)
        for found in kept["segments"]:
            point: AreaPoint = {
                "time": time,
                "area": found["area"],
                "fraction": found["fraction"],
            }
            self._areas.setdefault(found["class_id"], []).append(point)
        return {"segments": kept["segments"]}

    def summary(self) -> SegmentSummary:
        return {
            "areas": [
                self._class_area(class_id, points)
                for class_id, points in sorted(self._areas.items())
            ]
        }

    def _class_area(self, class_id: int, points: list[AreaPoint]) -> ClassArea:
        fractions = sum(point["fraction"] for point in points)
        return {
            "label": self._classes.labels[class_id],
            "class_id": class_id,
            "frames": len(points),
            "mean_fraction": round(fractions / self._frames, 6),
            "over_time": points,
        }
