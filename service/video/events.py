"""What happens while a video runs through a task: its start, its frames, its summary."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from service.errors import FovealError
from service.runtime.job import Trace
from service.video.reader import Counts, Ended, VideoInfo


@dataclass(frozen=True, slots=True)
class VideoStart:
    """What is known at the first frame; `served` says what answers: a model and its version, or a chain."""

    served: Mapping[str, Any]
    task: str
    info: VideoInfo

    def json(self) -> dict[str, Any]:
        video = asdict(self.info)
        return {
            **self.served,
            "task": self.task,
            "expected": video.pop("expected"),
            "video": video,
        }


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A sampled frame: its result or its error, the frame with its result drawn where that was wanted, its times."""

    number: int
    seconds: float
    result: Mapping[str, Any] | FovealError
    drawn: Image.Image | None = None
    trace: Trace | None = None

    def json(self) -> dict[str, Any]:
        place: dict[str, Any] = {"number": self.number, "time": round(self.seconds, 3)}
        if isinstance(self.result, FovealError):
            return place | {"error": {"code": self.result.code, "detail": str(self.result)}}
        return place | {**self.result}


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """What is known at the end: how the video ended, how many frames were read, the result of the whole."""

    ended: Ended
    detail: str
    counts: Counts
    result: Mapping[str, Any]

    def json(self) -> dict[str, Any]:
        detail = {"detail": self.detail} if self.detail else {}
        return {
            "ended": self.ended,
            **detail,
            "counts": asdict(self.counts),
            "summary": self.result,
        }


VideoEvent = VideoStart | VideoFrame | VideoSummary
