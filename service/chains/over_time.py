"""A chain on the frames of a video: its boxes are joined into tracks."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from service.chains.call import ChainCall
from service.chains.overlay import draw_chain
from service.chains.result import ChainFrame
from service.chains.step_call import Found
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.heads.over_time.detect import DetectSummary, summarize
from service.heads.over_time.tracks import Tracker
from service.imaging.source_image import SourceImage


@dataclass(frozen=True, slots=True)
class Followed:
    """The boxes of a frame, and what all steps say of them."""

    found: Found
    boxes: list[dict[str, Any]]


class ChainCombiner(Combiner[Any]):
    """The boxes of frames with what the steps say of them; the first step's boxes are joined into tracks.

    Args:
        call: the chain.
        timeout_seconds: how long the crops of a frame may take.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        call: ChainCall,
        timeout_seconds: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._call = call
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._tracker = Tracker()
        self._last: list[dict[str, Any]] = []

    def keep(self, outputs: Outputs, source: SourceImage) -> Found:
        found: Found = self._call.first.head(outputs, source)
        return found

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:  # noqa: ARG002
        """Return the frame; `caption` draws on a copy of it, when all steps have answered."""
        return source.displayed()

    async def follow(self, kept: Found) -> Followed:
        """Take the boxes of a frame through the later steps."""
        until = self._clock() + self._timeout_seconds
        return Followed(kept, await self._call.follow(kept, until))

    def add(self, seconds: float, kept: Followed) -> Mapping[str, Any]:
        numbers = self._tracker.add(seconds, kept.found.things)
        self._last = kept.boxes
        boxes: Any = [
            {"track": number, **box} for number, box in zip(numbers, kept.boxes, strict=True)
        ]
        frame: ChainFrame = {"found": len(kept.found.things), "boxes": boxes}
        return frame

    def caption(self, image: Image.Image) -> Image.Image:
        return draw_chain(image, self._last)

    def summary(self) -> DetectSummary:
        return summarize(self._tracker)
