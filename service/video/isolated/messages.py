"""What the service and the process of a video send each other over a socket, as plain bytes.

The service asks, and the process answers; before its answer it may ask for bytes of the file, as often as it likes. The
service believes nothing but pixels and what `Told` holds: each field is checked, and no object is built of it (no
pickle). All numbers are little-endian.
"""

import json
import math
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from service.errors import BY_CODE, FovealError, ImageError, VideoError
from service.video.allowed import ALL, Allowed
from service.video.kept import Kept
from service.video.opening import AnyClip
from service.video.reader import Counts, Ended, VideoInfo, VideoLimits
from service.video.sampling import Sampling

ASK = struct.Struct("<BQ")
"""Kind and a number, as `Ask` says. The process answers with the heads of `service.imaging.isolated.messages.REPLY`."""
MOST_READ = 1 << 20
"""Bytes of the file that are sent at once at most."""
MOST_TEXT = 1 << 16
"""Bytes of a text at most."""
MOST_NUMBER = 1 << 53
_ENDS: dict[str, Ended] = {"complete": "complete", "truncated": "truncated", "limit": "limit"}
_MOST_NAME = 100


class Ask(IntEnum):
    """What the service sends, with its number.

    OPEN: the length of the JSON behind it, how the video is wanted. ALLOW: pixels of a frame at most. NEXT: the next
    frame is wanted. BYTES: the length of the part of the file behind it, none at its end. AT: where the file ends.
    """

    OPEN = 1
    ALLOW = 2
    NEXT = 3
    BYTES = 4
    AT = 5


class Answer(IntEnum):
    """What the process sends, with its two numbers.

    READY is sent once, at the start. READ: a position in the file, and how many bytes are wanted from there.
    FIND_END: nothing; it wants to know where the file ends. The others have the length of the JSON behind them.
    OPENED, FRAME and END: what `Told` holds. Behind a FRAME come the rows of its image in RGB, if it has one. REFUSED:
    an error of videos, by its code. FAILED: an unexpected error, a text.
    """

    READY = 1
    READ = 2
    FIND_END = 3
    OPENED = 4
    FRAME = 5
    END = 6
    REFUSED = 7
    FAILED = 8


def wanted_text(sampling: Sampling, limits: VideoLimits) -> bytes:
    """Return how a video is wanted, to be sent."""
    fields = asdict(limits)
    if limits.allowed is ALL:
        fields["allowed"] = None
    return json.dumps([asdict(sampling), fields]).encode()


def read_wanted(text: bytes) -> tuple[Sampling, VideoLimits]:
    """Return what was sent."""
    sampling, fields = json.loads(text)
    allowed = fields.pop("allowed")
    if allowed is not None:
        allowed = Allowed(tuple(allowed["formats"]), tuple(allowed["codecs"]))
    return Sampling(**sampling), VideoLimits(**fields, allowed=allowed or ALL)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is said of a frame; without a size it has no image, and `error` says why."""

    number: int
    seconds: float
    pixels: int
    size: tuple[int, int] | None
    error: FovealError | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a video: what its clip says by now, what its header says, and the frame that was wanted."""

    counts: Counts
    ended: Ended
    detail: str
    info: VideoInfo
    pixels: int
    kept: Kept | None
    frame: Shown | None = None


def told_text(clip: AnyClip, frame: Shown | None = None) -> bytes:
    """Return what is said of a clip, to be sent."""
    said = {
        "counts": asdict(clip.counts),
        "ended": clip.ended,
        "detail": clip.detail[: MOST_TEXT // 16],
        "info": asdict(clip.info),
        "pixels": clip.pixels,
        "kept": None if clip.kept is None else asdict(clip.kept),
        "frame": None if frame is None else _frame_fields(frame),
    }
    return json.dumps(said).encode()


def refusal_text(error: FovealError, clip: AnyClip | None) -> bytes:
    """Return an error, and the counts of the clip, to be sent."""
    counts = Counts() if clip is None else clip.counts
    said = {"error": _error_fields(error), "counts": asdict(counts)}
    return json.dumps(said).encode()


def _frame_fields(frame: Shown) -> dict[str, Any]:
    error = None if frame.error is None else _error_fields(frame.error)
    return {
        "number": frame.number,
        "seconds": frame.seconds,
        "pixels": frame.pixels,
        "size": frame.size,
        "error": error,
    }


def _error_fields(error: FovealError) -> list[str]:
    return [error.code, str(error)[: MOST_TEXT // 16]]


def read_told(text: bytes, max_pixels: int) -> Told:
    """Return what was said of a video.

    Raises:
        ValueError: the text is something else, or a frame has more than `max_pixels`.
    """
    said = _fields(json.loads(text), "counts", "ended", "detail", "info", "pixels", "kept", "frame")
    if not isinstance(said["ended"], str) or said["ended"] not in _ENDS:
        raise ValueError("a video does not end like that")
    return Told(
        _counts(said["counts"]),
        _ENDS[said["ended"]],
        _text(said["detail"], MOST_TEXT),
        _info(said["info"]),
        _number(said["pixels"]),
        None if said["kept"] is None else _kept(said["kept"]),
        None if said["frame"] is None else _shown(said["frame"], max_pixels),
    )


def read_refusal(text: bytes) -> tuple[FovealError, Counts]:
    """Return an error of videos, and the counts.

    Raises:
        ValueError: the text is something else.
    """
    said = _fields(json.loads(text), "error", "counts")
    return _error(said["error"]), _counts(said["counts"])


def _fields(value: object, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError(f"not the fields {', '.join(names)}")
    return value


def _number(value: object, most: int = MOST_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("not a number of 0 or more")
    return value


def _real(value: object) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError("not a finite number")
    return value  # type: ignore[return-value]


def _text(value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError("not a text, or too long")
    return value


def _counts(value: object) -> Counts:
    said = _fields(value, "decoded", "sampled", "skipped")
    return Counts(**{name: _number(count) for name, count in said.items()})


def _info(value: object) -> VideoInfo:
    said = _fields(value, *VideoInfo.__slots__)
    return VideoInfo(
        container=_text(said["container"], _MOST_NAME),
        codec=_text(said["codec"], _MOST_NAME),
        width=_number(said["width"]),
        height=_number(said["height"]),
        rotation=_number(said["rotation"], 270),
        fps=None if said["fps"] is None else _real(said["fps"]),
        seconds=None if said["seconds"] is None else _real(said["seconds"]),
        expected=None if said["expected"] is None else _number(said["expected"]),
    )


def _kept(value: object) -> Kept:
    said = _fields(value, *Kept.__slots__)
    return Kept(_number(said["frames"]), _real(said["pixel_bytes"]), said["says_order"] is True)


def _shown(value: object, max_pixels: int) -> Shown:
    said = _fields(value, "number", "seconds", "pixels", "size", "error")
    error = None if said["error"] is None else _error(said["error"])
    size = None if error is not None else _size(said["size"], max_pixels)
    return Shown(
        _number(said["number"]), _real(said["seconds"]), _number(said["pixels"]), size, error
    )


def _size(value: object, max_pixels: int) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("not a size")
    width, height = (_number(side, max_pixels) for side in value)
    if not 0 < width * height <= max_pixels:
        raise ValueError(f"a frame of {width}×{height} pixels is not allowed")
    return width, height


def _error(value: object) -> FovealError:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("not an error")
    code, detail = (_text(part, MOST_TEXT) for part in value)
    kind = BY_CODE.get(code)
    if kind is None or not issubclass(kind, VideoError | ImageError):
        raise ValueError("an error that videos do not have")
    return kind(detail)
