"""Decodes in processes of their own: an image that crashes a library, or never ends, costs its own request alone."""

import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.card import ImageInput
from service.errors import (
    BrokenImageError,
    ConfigurationError,
    DeadlineError,
    FovealError,
    ImageError,
    UnavailableError,
    error_types,
)
from service.imaging.announced import Announced, quick_pixels
from service.imaging.deadline import Deadline
from service.imaging.decode import MAX_SIDE, Limits
from service.imaging.geometry import plan
from service.imaging.isolated.child import (
    NO_MEMORY_CODE,
    PROGRAM,
    DecoderProcess,
    EndedError,
    StoppedError,
)
from service.imaging.isolated.messages import (
    MOST_TEXT,
    NOTE_LENGTHS,
    NOTES,
    Kind,
    Reply,
    Request,
    limits_text,
    read_refusal,
)
from service.imaging.isolated.pool import DecoderPool
from service.imaging.jpeg_header import JPEG_START
from service.imaging.room import TIGHT_BYTES_PER_PIXEL, TIGHT_JPEG_SHARE, PixelRoom
from service.imaging.source_image import SourceImage
from service.imaging.webp_codes import MOST_BYTES
from service.imaging.work import announced, quick_announced
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

T = TypeVar("T")
Size = tuple[int, int]
Head = tuple[int, int, int]
"""The kind of a reply and its two numbers."""

LEAST_SECONDS = 1.0
"""A process is not killed before it has worked on an image for so long: to start another one costs half of it."""

MARGIN_SECONDS = 0.5
"""How long it may take to stop by itself, between two parts of the image."""

_IMAGE_ERRORS = {kind.code: kind for kind in error_types() if issubclass(kind, ImageError)}


class BadReplyError(Exception):
    """A decoder process sent a reply that is not valid, or had an unexpected error."""


class IsolatedDecoder:
    """A `Decoder` whose libraries run in a bounded number of processes, which can be killed.

    Room for the pixels is always taken before a process, so nobody waits for the one while holding the other.

    Args:
        limits: of one image.
        room: for the pixels of the images that are decoded or drawn on at once.
        count: how many processes.
        memory_bytes: what each may take beyond the memory that it starts with.
        seconds: how long it may work on an image.
        on_end: called when a process has ended before the service, with the reason: crash, memory, time, killed or
            reply.
        program: the module that the processes run.
        clock: the clock of the deadlines, in seconds.

    Raises:
        ConfigurationError: this is not Linux.
    """

    def __init__(
        self,
        limits: Limits,
        room: PixelRoom,
        *,
        count: int,
        memory_bytes: int,
        seconds: float,
        on_end: Callable[[str], None],
        program: str = PROGRAM,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if sys.platform != "linux":
            raise ConfigurationError(
                "FOVEAL_DECODE=isolated needs Linux. Use FOVEAL_DECODE=threads on this machine."
            )
        self._limits = limits
        self._limits_text = limits_text(limits)
        self._room = room
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._clock = clock
        self._pool = DecoderPool(count, memory_bytes, on_end=on_end, program=program, clock=clock)

    @property
    def pids(self) -> list[int]:
        """The pids of the processes."""
        return self._pool.pids

    def start(self) -> None:
        """Begin to start the processes; an image waits for the first one."""
        self._pool.start()

    def close(self) -> None:
        """End the processes."""
        self._pool.close()

    def not_ready(self) -> list[str]:
        """Return why no image can be decoded."""
        reason = self._pool.not_ready()
        return [reason] if reason else []

    def prepare(
        self,
        image: bytes,
        target: ImageInput,
        until: float,
        *,
        draws: bool = False,  # noqa: ARG002  # the whole image is asked for again: it may be large, and a frame is small
    ) -> tuple[NDArray[np.uint8], SourceImage]:
        """Return the frame and its source; see `Decoder`.

        Raises:
            UnavailableError: the process was killed or stopped from outside.
        """
        text = target.model_dump_json().encode()
        frame = np.empty((target.height, target.width, 3), np.uint8)
        pixels = quick_pixels(image) or 0
        if pixels > self._limits.max_pixels:
            pixels = 0  # nothing will be decoded
        size = self._decoded(image, text, pixels, frame.data.cast("B"), until)
        if isinstance(size, int):  # only its reader knows its size, or what it takes besides
            pixels = size
            size = self._decoded(image, text, pixels, frame.data.cast("B"), until)
        if isinstance(size, int):
            raise BadReplyError(f"{size} pixels are refused for want of room, and there was room")
        again = partial(self._displayed, size=size, until=until)
        return frame, SourceImage(image, plan(*size, target), self._limits, again, held=pixels)

    def announced(self, images: Iterable[bytes], until: float) -> list[Announced]:
        """Return what the images announce; see `Decoder`."""
        go_on = Deadline(until, self._clock)
        found = []
        for image in images:
            go_on()
            found.append(self._announced(image, until))
        return found

    def _announced(self, image: bytes, until: float) -> Announced:
        known = quick_announced(image)
        if known is not None:
            return known
        if quick_pixels(image) is not None:  # only its scans or chunks are counted
            return announced(image, self._limits.formats)
        try:
            return self._ask(self._request(Kind.ANNOUNCED, image), until, _counts)
        except ImageError:  # it gets its error when it is decoded
            return Announced(0, 0)

    def _decoded(
        self, image: bytes, target: bytes, granted: int, frame: memoryview, until: float
    ) -> Size | int:
        """Fill the frame and return the displayed size, or only the pixels, where they need room first."""
        request = self._request(Kind.FRAME, image, target, granted)
        is_more_possible = not granted or image.startswith(b"RIFF")  # a WebP has prefix codes too

        def read(process: DecoderProcess, reply: Head, latest: float) -> Size | int:
            if reply[0] == Reply.COUNT and is_more_possible:
                return self._allowed(_count(process, reply, latest))
            size = self._size(reply)
            process.receive(frame, latest)
            return size

        share = TIGHT_JPEG_SHARE if image.startswith(JPEG_START) else 1
        with self._room.hold(granted, until, tight_share=share):
            return self._ask(request, until, read)

    def _allowed(self, pixels: int) -> int:
        if pixels > self._limits.max_pixels + MOST_BYTES // TIGHT_BYTES_PER_PIXEL:
            raise BadReplyError(
                f"a decoder asks for room for {pixels} pixels, which are not allowed"
            )
        return pixels

    def _displayed(self, image: bytes, _: Limits, *, size: Size, until: float) -> Image.Image:
        """Return the whole image; its caller holds room for it."""
        rows = np.empty((size[1], size[0], 3), np.uint8)

        def read(process: DecoderProcess, reply: Head, latest: float) -> dict[str, bytes]:
            if self._size(reply) != size:
                raise BadReplyError(f"the image had {size} pixels and now has {reply[1:]}")
            notes = _notes(process, len(image), latest)
            process.receive(rows.data.cast("B"), latest)
            return notes

        notes = self._ask(self._request(Kind.IMAGE, image), until, read)
        shown = Image.fromarray(rows)
        shown.info.update(notes)
        return shown

    def _request(self, kind: Kind, image: bytes, target: bytes = b"", granted: int = 0) -> Request:
        return Request(kind, image, target, granted, self._limits_text)

    def _size(self, reply: Head) -> Size:
        """Return the size of the displayed image, believed only as far as the limits allow."""
        kind, width, height = reply
        if kind != Reply.PIXELS or not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise BadReplyError(f"a decoder answered {reply}")
        if width * height > self._limits.max_pixels:
            raise BadReplyError(f"a decoder decoded {width}×{height} pixels, which are not allowed")
        return width, height

    def _ask(
        self,
        request: Request,
        until: float,
        read: Callable[[DecoderProcess, Head, float], T],
    ) -> T:
        """Return what `read` makes of the reply; whatever else happens, the process is given back or replaced."""
        Deadline(until, self._clock)()
        process = self._pool.take(until)
        began = self._clock()
        seconds = min(until - began, self._seconds)
        latest = began + max(seconds + MARGIN_SECONDS, LEAST_SECONDS)
        try:
            process.send(replace(request, seconds=seconds), latest)
            reply = process.reply(latest)
            if reply[0] == Reply.LATE:
                raise self._late(until)
            _check(process, reply, latest)
            found = read(process, reply, latest)
        except (ImageError, DeadlineError):
            self._pool.give_back(process)
            raise
        except BaseException as error:
            reason, answer = self._why(error, until)
            self._pool.discard(process, reason)
            if answer is error:
                raise
            raise answer from error
        self._pool.give_back(process)
        return found

    def _why(self, error: BaseException, until: float) -> tuple[str, BaseException]:
        """Return why a process is ended, and the error of its image."""
        if isinstance(error, StoppedError):
            log.error("A decoder process was stopped from outside and is replaced.")
            return "killed", UnavailableError(
                "The process that decoded this image was stopped. Try again in a moment."
            )
        if isinstance(error, TimeoutError):
            return "time", self._late(until)
        if isinstance(error, EndedError) and error.code == NO_MEMORY_CODE:
            most = self._memory_bytes >> 20
            return "memory", ImageError(
                f"The image needs more memory than the {most} MiB that its decoder may use. Send a smaller image."
            )
        if isinstance(error, EndedError):
            return _ended(error)
        return "reply", error

    def _late(self, until: float) -> FovealError:
        if self._clock() >= until:
            return DeadlineError("The image was not decoded before the deadline.")
        return ImageError(
            f"The image was not decoded within the {self._seconds:g} s that are allowed. Send a smaller image, or "
            "encode it again."
        )


def _check(process: DecoderProcess, reply: Head, latest: float) -> None:
    """Raise what a reply without a result says."""
    kind, length, _ = reply
    if kind not in {Reply.REFUSED, Reply.FAILED}:
        return
    if length > MOST_TEXT:
        raise BadReplyError(f"a decoder announced an error of {length} bytes")
    text = bytearray(length)
    process.receive(memoryview(text), latest)
    if kind == Reply.FAILED:
        raise BadReplyError(text.decode(errors="replace"))
    raise _refused(bytes(text))


def _notes(process: DecoderProcess, most: int, latest: float) -> dict[str, bytes]:
    """Return what an image carries besides its pixels; each is a part of its file, so no longer than `most` bytes."""
    lengths = bytearray(NOTE_LENGTHS.size)
    process.receive(memoryview(lengths), latest)
    notes = {}
    for name, length in zip(NOTES, NOTE_LENGTHS.unpack(lengths), strict=True):
        if length > most:
            raise BadReplyError(f"a decoder found {length} bytes of {name} in a file of {most}")
        note = bytearray(length)
        process.receive(memoryview(note), latest)
        if note:
            notes[name] = bytes(note)
    return notes


def _refused(text: bytes) -> ImageError:
    try:
        code, detail = read_refusal(text)
        return _IMAGE_ERRORS[code](detail)
    except (ValueError, KeyError) as error:
        raise BadReplyError(
            "a decoder refused an image with an error that images do not have"
        ) from error


def _ended(error: EndedError) -> tuple[str, FovealError]:
    if error.is_crash:
        log.warning("An image crashed its decoder process (%s), which is replaced.", error.by)
        return "crash", BrokenImageError(
            f"The image made its decoder crash ({error.by}): it is damaged, or was made to do that. Encode it again."
        )
    log.error("A decoder process was ended from outside (%s) and is replaced.", error.by)
    return "killed", UnavailableError(
        "The process that decoded this image was ended, as happens when memory is short. Try again in a moment."
    )


def _counts(process: DecoderProcess, reply: Head, latest: float) -> Announced:
    return Announced(_count(process, reply, latest), reply[2])


def _count(process: DecoderProcess, reply: Head, latest: float) -> int:  # noqa: ARG001  # as all that read a reply
    kind, pixels, _ = reply
    if kind != Reply.COUNT:
        raise BadReplyError(f"a decoder answered {reply}")
    return pixels
