"""A clip's answers in the form that was asked for: one JSON, a line or an event a frame, or an MP4."""

from collections.abc import Mapping
from typing import Any, Protocol

from PIL import Image
from pydantic_core import to_json

from service.media_types import JSON, MP4, NDJSON, SSE
from service.video.mp4 import Film

Event = dict[str, Any]


class VideoWriter(Protocol):
    """Turns what happens into bytes; each method returns what can be sent already. Blocking: called on a thread."""

    media_type: str

    def start(self, head: Event) -> bytes:
        """Take what is known at the first frame."""

    def frame(self, answer: Event, drawn: Image.Image | None) -> bytes:
        """Take one frame's answer."""

    def end(self, tail: Event) -> bytes:
        """Take what is known at the end."""

    def fail(self, error: Event) -> bytes:
        """Take what went wrong, when the answer has begun already."""


class OneJson:
    """Everything at the end; each frame is kept encoded, which takes a fraction of the room."""

    media_type = JSON

    def __init__(self) -> None:
        self._head: Event = {}
        self._frames: list[bytes] = []

    def start(self, head: Event) -> bytes:
        self._head = head
        return b""

    def frame(self, answer: Event, drawn: Image.Image | None) -> bytes:  # noqa: ARG002  # the protocol's
        self._frames.append(to_json(answer))
        return b""

    def end(self, tail: Event) -> bytes:
        known = {name: value for name, value in self._head.items() if name != "expected"}
        video = {**known["video"], **tail["counts"]}
        head = {**known, "video": video, "ended": tail["ended"]}
        if "detail" in tail:
            head["detail"] = tail["detail"]
        opening = to_json(head)[:-1]
        frames = b",".join(self._frames)
        return b"".join(
            [opening, b',"frames":[', frames, b'],"summary":', to_json(tail["summary"]), b"}"]
        )

    def fail(self, error: Event) -> bytes:  # noqa: ARG002  # nothing was sent: the status tells it
        return b""


class Lines:
    """A JSON object a line (NDJSON), the kind of event in its first field, progress in each frame's."""

    media_type = NDJSON

    def __init__(self) -> None:
        self._expected: int | None = None
        self._done = 0

    def start(self, head: Event) -> bytes:
        self._expected = head["expected"]
        return self._event("start", head)

    def frame(self, answer: Event, drawn: Image.Image | None) -> bytes:  # noqa: ARG002  # the protocol's
        self._done += 1
        return self._event("frame", {"done": self._done, "of": self._expected, **answer})

    def end(self, tail: Event) -> bytes:
        return self._event("summary", tail)

    def fail(self, error: Event) -> bytes:
        return self._event("error", {"error": error})

    def _event(self, kind: str, content: Mapping[str, Any]) -> bytes:
        return to_json({"event": kind, **content}) + b"\n"


class ServerSentEvents(Lines):
    """The same as server-sent events (HTML Living Standard, section 9.2)."""

    media_type = SSE

    def _event(self, kind: str, content: Mapping[str, Any]) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), to_json(content))


class Overlay:
    """The drawn frames, each at its own time. A frame that failed has no image: the one before stays."""

    media_type = MP4

    def __init__(self) -> None:
        self._film = Film()

    def start(self, head: Event) -> bytes:  # noqa: ARG002  # the protocol's
        return b""

    def frame(self, answer: Event, drawn: Image.Image | None) -> bytes:
        return b"" if drawn is None else self._film.add(drawn, answer["time"])

    def end(self, tail: Event) -> bytes:  # noqa: ARG002  # the protocol's
        return self._film.end()

    def fail(self, error: Event) -> bytes:  # noqa: ARG002  # a film has no room for words: it ends
        return self._film.end()


WRITERS: Mapping[str, type[OneJson | Lines | ServerSentEvents | Overlay]] = {
    JSON: OneJson,
    NDJSON: Lines,
    SSE: ServerSentEvents,
    MP4: Overlay,
}
