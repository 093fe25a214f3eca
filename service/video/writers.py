"""A video's events → bytes in the form that the request states: one JSON, a line or an event per frame, or an MP4."""

from collections.abc import Mapping
from typing import Any, Protocol

from pydantic_core import to_json

from service.errors import FovealError
from service.media_types import JSON, MP4, NDJSON, SSE
from service.video.events import VideoEvent, VideoFrame, VideoStart
from service.video.mp4 import Film


class VideoWriter(Protocol):
    """Turns events into bytes; each method returns what can be sent already. Blocking: called on a thread."""

    media_type: str

    def write(self, event: VideoEvent) -> bytes:
        """Take the next event."""

    def fail(self, error: FovealError) -> bytes:
        """Take the error that ends a response which has begun."""


class JsonWriter:
    """Everything at the end; each frame is kept encoded, which takes a fraction of the memory."""

    media_type = JSON

    def __init__(self) -> None:
        self._start: dict[str, Any] = {}
        self._frames: list[bytes] = []

    def write(self, event: VideoEvent) -> bytes:
        if isinstance(event, VideoStart):
            self._start = event.json()
            return b""
        if isinstance(event, VideoFrame):
            self._frames.append(to_json(event.json()))
            return b""
        return self._whole(event.json())

    def fail(self, error: FovealError) -> bytes:  # noqa: ARG002  # nothing was sent: the status says it
        return b""

    def _whole(self, end: dict[str, Any]) -> bytes:
        known = {name: value for name, value in self._start.items() if name != "expected"}
        summary = end.pop("summary")
        head = known | {"video": known["video"] | end.pop("counts")} | end
        frames = b",".join(self._frames)
        return b"".join(
            [to_json(head)[:-1], b',"frames":[', frames, b'],"summary":', to_json(summary), b"}"]
        )


class LinesWriter:
    """A JSON object per line (NDJSON): the kind of event in its first field, progress in each frame's."""

    media_type = NDJSON

    def __init__(self) -> None:
        self._expected: int | None = None
        self._done = 0

    def write(self, event: VideoEvent) -> bytes:
        content = event.json()
        if isinstance(event, VideoStart):
            self._expected = content["expected"]
            return self._line("start", content)
        if isinstance(event, VideoFrame):
            self._done += 1
            return self._line("frame", {"done": self._done, "of": self._expected, **content})
        return self._line("summary", content)

    def fail(self, error: FovealError) -> bytes:
        content = {"code": error.code, "status": error.status, "detail": str(error)}
        return self._line("error", {"error": content})

    def _line(self, kind: str, content: Mapping[str, Any]) -> bytes:
        return to_json({"event": kind, **content}) + b"\n"


class ServerSentEventsWriter(LinesWriter):
    """The same as server-sent events (HTML Living Standard, section 9.2); `data` holds the line."""

    media_type = SSE

    def _line(self, kind: str, content: Mapping[str, Any]) -> bytes:
        data = to_json({"event": kind, **content})
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


class OverlayWriter:
    """The drawn frames, each at its own time. A frame that failed has no image: the one before stays."""

    media_type = MP4

    def __init__(self) -> None:
        self._film = Film()

    def write(self, event: VideoEvent) -> bytes:
        if isinstance(event, VideoStart):
            return b""
        if isinstance(event, VideoFrame):
            if event.drawn is None:
                return b""
            return self._film.add(event.drawn, round(event.seconds, 3))
        return self._film.end()

    def fail(self, error: FovealError) -> bytes:  # noqa: ARG002  # an MP4 has no place for an error: it ends
        return self._film.end()


WRITERS: Mapping[str, type[JsonWriter | LinesWriter | ServerSentEventsWriter | OverlayWriter]] = {
    JSON: JsonWriter,
    NDJSON: LinesWriter,
    SSE: ServerSentEventsWriter,
    MP4: OverlayWriter,
}
