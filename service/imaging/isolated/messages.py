"""What the service and a decoder process send each other over a socket: a request, then its reply, as plain bytes.

The service believes nothing of a reply but pixels: sizes are checked, and no object is built from it (no pickle). All
numbers are little-endian.
"""

import json
import math
import struct
from dataclasses import dataclass, field
from enum import IntEnum

from service.imaging.decode import Limits

REQUEST = struct.Struct("<BQdIIQ")
"""Kind, granted pixels, seconds, and the bytes of the limits, of the target and of the image; see `Request`."""
REPLY = struct.Struct("<BQQ")
"""Kind and two numbers, as `Reply` says."""

NOTES = ("icc_profile", "comment")
"""What an image carries besides its pixels and an image made of it still has; bytes each, in Pillow's `info`."""
NOTE_LENGTHS = struct.Struct("<QQ")
"""The bytes of each of them."""

MOST_TEXT = 1 << 16
"""Bytes of an error at most."""
MOST_WORK = 1 << 60
"""The most that an image is said to take."""


class Kind(IntEnum):
    """What is wanted: the network's frame, the whole image as displayed, or the pixels by the header."""

    FRAME = 1
    IMAGE = 2
    ANNOUNCED = 3


class Reply(IntEnum):
    """What a reply holds, and its two numbers.

    READY is sent once, at the start. PIXELS: width and height of the displayed image, and behind them the rows of the
    frame in RGB, or the lengths of the notes, the notes, and the rows of the image in RGB. COUNT: the pixels that the
    image has by its header, and its work where only these were wanted; where a frame was wanted, the process waits
    for a request that grants them. REFUSED: the length of the JSON that follows, an image error's code and detail.
    FAILED: the length of the text that follows, an unexpected error. LATE: nothing; the time was over between two
    parts of the image.
    """

    READY = 1
    PIXELS = 2
    COUNT = 3
    REFUSED = 4
    FAILED = 5
    LATE = 6


@dataclass(frozen=True, slots=True)
class Request:
    """What a decoder process is given.

    Args:
        kind: what is wanted.
        body: the encoded image.
        target: the `ImageInput` of the frame, in JSON; empty where no frame is wanted.
        granted: an image of more pixels than these, and than `SMALL_PIXELS`, is only counted.
        limits: the limits of an image, as `limits_text` gives them.
        seconds: how long it may be worked on, where that is looked at.
    """

    kind: Kind
    body: bytes = field(repr=False)
    target: bytes
    granted: int
    limits: bytes
    seconds: float = math.inf

    def head(self) -> bytes:
        """Return what is sent before the image."""
        lengths = (len(self.limits), len(self.target), len(self.body))
        packed = REQUEST.pack(self.kind, self.granted, self.seconds, *lengths)
        return packed + self.limits + self.target


def refusal(code: str, detail: str) -> bytes:
    """Return the text of a refused image."""
    return json.dumps([code, detail]).encode()[:MOST_TEXT]


def read_refusal(text: bytes) -> tuple[str, str]:
    """Return the code and the detail.

    Raises:
        ValueError: the text is something else.
    """
    found = json.loads(text)
    if not isinstance(found, list) or len(found) != 2:
        raise ValueError("the refusal of an image is not two strings")
    code, detail = found
    return str(code), str(detail)


def limits_text(limits: Limits) -> bytes:
    """Return the limits of an image, to be sent."""
    return json.dumps([limits.max_pixels, limits.max_metadata_bytes, limits.formats]).encode()


def read_limits(text: bytes) -> Limits:
    """Return the limits that were sent."""
    max_pixels, max_metadata_bytes, formats = json.loads(text)
    return Limits(max_pixels, tuple(formats), max_metadata_bytes)
