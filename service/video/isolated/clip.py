"""A video whose libraries run in a process of its own: what crashes or never ends costs its own request alone."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import (
    BrokenVideoError,
    FovealError,
    OverloadedError,
    UnavailableError,
    VideoError,
)
from service.imaging.isolated.child import NO_MEMORY_CODE, DecoderProcess, EndedError, StoppedError
from service.logs import LOGGER
from service.video.frame import HELD_BYTES_PER_PIXEL
from service.video.isolated.messages import (
    ASK,
    MOST_NUMBER,
    MOST_READ,
    MOST_TEXT,
    Answer,
    Ask,
    Shown,
    Told,
    read_refusal,
    read_told,
    wanted_text,
)
from service.video.isolated.places import Places
from service.video.kept import Kept
from service.video.reader import Counts, Ended, VideoInfo, VideoLimits
from service.video.sampling import Sampling
from service.video.source import Source

log = logging.getLogger(LOGGER)

T = TypeVar("T")

PROGRAM = "service.video.isolated.process"
"""The module that the process of a video runs."""
PASSES = 8
"""A file is read so many times before its reading again counts as no progress."""

_FOR_THE_SERVICE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""It ends its videos itself; systemd sends these signals to every process."""

StartProcess = Callable[[str, int, Callable[[], float]], DecoderProcess]
"""Starts one: the module that it runs, the memory that it may take, and the clock of the deadlines."""


class BadAnswerError(Exception):
    """A video's process sent an answer that is not valid, or had an unexpected error."""


@dataclass(frozen=True, slots=True)
class IsolatedFrame:
    """One frame: its number, from 0, its time from the start in seconds, and its displayed pixels, or its error."""

    number: int
    seconds: float
    pixels: int
    rows: NDArray[np.uint8] | None
    error: FovealError | None
    max_pixels: int

    @property
    def held_bytes(self) -> int:
        """About how many bytes the frame and the image made of it take."""
        return HELD_BYTES_PER_PIXEL * self.pixels

    def image(self) -> Image.Image:
        """Return the frame as displayed, mode RGB.

        Raises:
            TooManyPixelsError, BrokenVideoError: as `Frame.image` does.
        """
        if self.rows is None:
            assert self.error is not None
            raise type(self.error)(
                str(self.error)
            )  # one that was raised refers to all that raised it
        return Image.fromarray(self.rows)


@dataclass(frozen=True, slots=True)
class Isolation:
    """What processes of videos may take.

    Args:
        places: bounds how many there are.
        memory_bytes: returns what one may take beyond the memory that it starts with.
        seconds: how long one may work without a frame, or a read of what it had not read.
        on_end: called when one has ended before its video did, with the reason: crash, memory, time, killed or reply.
        program: the module that they run.
        start: starts one.
        clock: the clock of the deadlines, in seconds.
    """

    places: Places
    memory_bytes: Callable[[], int]
    seconds: float
    on_end: Callable[[str], None]
    program: str = PROGRAM
    start: StartProcess = DecoderProcess
    clock: Callable[[], float] = time.perf_counter

    def opening(self, source: Source, sampling: Sampling, limits: VideoLimits) -> "IsolatedClip":
        """Return what opens a video; see `OpenerOf`."""
        return IsolatedClip(self, source, sampling, limits)


class IsolatedClip:
    """A video as the service sees it, with the interface of `Clip`; open it before anything else.

    `open`, the iteration and `close` are for one thread, which lives as long as the process: that ends with it. Any
    thread may call `stop`, which ends the process at once.

    Args:
        isolation: what the process may take.
        source: the file; its `read` may block until more bytes have arrived.
        sampling: which frames are wanted.
        limits: the limits of a video.
    """

    info: VideoInfo
    """As of `Clip`, once it is open."""

    def __init__(
        self, isolation: Isolation, source: Source, sampling: Sampling, limits: VideoLimits
    ) -> None:
        self.counts = Counts()
        self.ended: Ended = "complete"
        self.detail = ""
        self.pixels = 0
        self.kept: Kept | None = None
        self.waits_since: float | None = None
        self.stopped = False
        self._isolation = isolation
        self._clock = isolation.clock
        self._source = source
        self._wanted = wanted_text(sampling, limits)
        self._limits = limits
        self._process: DecoderProcess | None = None
        self._memory_bytes = 0
        self._displaced = False
        self._allowed: int | None = None
        self._latest = 0.0
        self._furthest = self._read_bytes = self._given = 0
        self._lock = threading.Lock()  # of `_process`, between this thread and those who stop it

    def open(self) -> "IsolatedClip":
        """Start the process, open the video and return this; see `open_clip`.

        Raises:
            FovealError: the file can not be read, or its process was ended.
        """
        try:
            self._isolation.places.take(self)
            self._start()
            self._guarded(self._ask_to_open)
        except BaseException:
            self.close()
            raise
        return self

    def allow(self, pixels: int) -> None:
        """Decode no frame of many more pixels; before the iteration."""
        self._allowed = pixels

    def __iter__(self) -> Iterator[IsolatedFrame]:
        """Yield the wanted frames; see `Clip`.

        Raises:
            FovealError: none can be read, or the process was ended.
        """
        try:
            if self._allowed is not None:
                self._guarded(partial(self._tell, Ask.ALLOW, self._allowed))
            while not self.stopped:
                frame = self._guarded(self._next)
                if frame is None:
                    return
                yield frame
                del frame
        except UnavailableError:
            if not self.stopped:
                raise

    def stop(self) -> None:
        """End the process; the iteration ends."""
        with self._lock:
            self.stopped = True
            self._kill()

    def displace(self) -> None:
        """End the process, for another video."""
        with self._lock:
            self._displaced = True
            self._kill()

    def close(self) -> None:
        """End the process, and wait for that."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
        self._isolation.places.leave(self)

    # The process.

    def _start(self) -> None:
        self._memory_bytes = self._isolation.memory_bytes()
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_SERVICE)  # which it inherits
        try:
            process = self._isolation.start(
                self._isolation.program, self._memory_bytes, self._clock
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        with self._lock:
            self._process = process
            if self.stopped or self._displaced:
                self._kill()
        try:
            process.wait_until_ready()
        except (EndedError, TimeoutError) as error:
            if not (self.stopped or self._displaced):
                log.error("The process of a video did not start: %s", error)
            raise UnavailableError(
                "The process that decodes this video did not start, as happens when memory is short. Try again in a "
                "moment."
            ) from error

    def _kill(self) -> None:
        if self._process is not None:
            self._process.interrupt()

    def _ask_to_open(self) -> None:
        kind, length = self._asked(Ask.OPEN, len(self._wanted), self._wanted)
        if kind != Answer.OPENED:
            raise BadAnswerError(f"a video's process answered {kind}")
        self._follow(self._told(self._body(length)))

    def _next(self) -> IsolatedFrame | None:
        """Return the next frame, None behind the last."""
        kind, length = self._asked(Ask.NEXT)
        if kind not in {Answer.FRAME, Answer.END}:
            raise BadAnswerError(f"a video's process answered {kind}")
        told = self._told(self._body(length))
        self._follow(told)
        if kind == Answer.END:
            return None
        self._given += 1
        if told.frame is None or self._given > self._limits.max_frames:
            raise BadAnswerError("a video's process sent a frame that was not wanted")
        return self._received(told.frame)

    def _received(self, shown: Shown) -> IsolatedFrame:
        rows = None
        if shown.size is not None:
            width, height = shown.size
            rows = np.empty((height, width, 3), np.uint8)
            self._receive(rows.data.cast("B"))
        return IsolatedFrame(
            shown.number,
            shown.seconds,
            min(shown.pixels, self._limits.max_pixels),
            rows,
            shown.error,
            self._limits.max_pixels,
        )

    def _follow(self, told: Told) -> None:
        self.counts, self.ended, self.detail = told.counts, told.ended, told.detail
        self.info, self.pixels, self.kept = told.info, told.pixels, told.kept

    def _told(self, text: bytes) -> Told:
        try:
            return read_told(text, self._limits.max_pixels)
        except (ValueError, RecursionError) as error:
            raise BadAnswerError(f"a video's process sent no valid answer: {error}") from error

    # Questions and answers.

    def _asked(self, ask: Ask, number: int = 0, text: bytes = b"") -> tuple[int, int]:
        """Ask, give the process what it reads of the file meanwhile, and return the kind of its answer and a length."""
        assert self._process is not None
        self._tell(ask, number, text)
        while True:
            kind, first, second = self._process.reply(self._latest)
            if kind == Answer.READ:
                self._give(first, second)
            elif kind == Answer.FIND_END:
                self._send(Ask.AT, self._from_source(lambda: self._source.seek(0, 2)))
            elif kind == Answer.REFUSED:
                self._refuse(self._body(first))
            elif kind == Answer.FAILED:
                raise BadAnswerError(self._body(first).decode(errors="replace"))
            else:
                return kind, first

    def _tell(self, ask: Ask, number: int = 0, text: bytes = b"") -> None:
        """Send something new, for which the process has all its time."""
        self._latest = self._clock() + self._isolation.seconds
        self._send(ask, number, text)

    def _give(self, position: int, size: int) -> None:
        if position > MOST_NUMBER or not 0 < size <= MOST_READ:
            raise BadAnswerError(f"a video's process reads {size} bytes at {position}")

        def read() -> bytes:
            self._source.seek(position)
            return self._source.read(size)

        found = self._from_source(read)
        self._note_progress(position, len(found))
        self._send(Ask.BYTES, len(found), found)

    def _from_source(self, call: Callable[[], T]) -> T:
        """Ask the file, which may wait for its client; the process need not hurry meanwhile."""
        began = self.waits_since = self._clock()
        try:
            return call()
        finally:
            self.waits_since = None
            self._latest += self._clock() - began

    def _note_progress(self, position: int, count: int) -> None:
        """Give the process its time again where it reads on; not where it reads the same for ever."""
        self._furthest = max(self._furthest, position + count)
        self._read_bytes += count
        if count and self._read_bytes <= PASSES * self._furthest:
            self._latest = self._clock() + self._isolation.seconds

    def _refuse(self, text: bytes) -> NoReturn:
        try:
            error, self.counts = read_refusal(text)
        except (ValueError, RecursionError) as fault:
            raise BadAnswerError(f"a video's process sent no valid error: {fault}") from fault
        try:
            raise error
        finally:
            del error  # it refers to this frame: the cycle would keep the file

    def _send(self, ask: Ask, number: int = 0, text: bytes = b"") -> None:
        assert self._process is not None
        self._process.send_parts((ASK.pack(ask, number), text), self._latest)

    def _body(self, length: int) -> bytes:
        if length > MOST_TEXT:
            raise BadAnswerError(f"a video's process announced a text of {length} bytes")
        text = bytearray(length)
        self._receive(memoryview(text))
        return bytes(text)

    def _receive(self, buffer: memoryview) -> None:
        assert self._process is not None
        self._process.receive(buffer, self._latest)

    # What becomes of a video whose process ends.

    def _guarded(self, call: Callable[[], T]) -> T:
        """Make a call; whatever ends the process is counted, and the client's error is raised for it."""
        try:
            return call()
        except FovealError:
            raise  # of the file, or of the service
        except BaseException as error:
            reason, answer = self._why(error)
            if reason:
                self._isolation.on_end(reason)
            self.close()
            if answer is error:
                raise
            try:
                raise answer from error
            finally:
                del answer  # it refers to this frame: the cycle would keep the file

    def _why(self, error: BaseException) -> tuple[str, BaseException]:
        """Return why the process has ended or is ended, empty where the service wanted it, and the client's error."""
        if self.stopped:
            return "", UnavailableError("Nobody needs the video any more.")
        if self._displaced:
            return "", OverloadedError(
                "The body arrived so slowly that the place of the video was given to another. Send it again, and "
                "faster."
            )
        if isinstance(error, StoppedError):
            log.error("The process of a video was stopped from outside and is ended.")
            return "killed", UnavailableError(
                "The process that decoded this video was stopped. Try again in a moment."
            )
        if isinstance(error, TimeoutError):
            return "time", VideoError(
                f"The video's decoder worked for the {self._isolation.seconds:g} s that are allowed and gave no frame. "
                "Send a smaller video, or encode it again."
            )
        if isinstance(error, EndedError):
            return self._end(error)
        return "reply", error

    def _end(self, error: EndedError) -> tuple[str, FovealError]:
        if error.code == NO_MEMORY_CODE:
            most = self._memory_bytes >> 20
            return "memory", VideoError(
                f"The video needs more memory than the {most} MiB that its decoder may use. Send one with smaller "
                "frames, or encode it again."
            )
        if error.is_crash:
            log.warning("A video crashed its process (%s).", error.by)
            return "crash", BrokenVideoError(
                f"The video made its decoder crash ({error.by}): it is damaged, or was made to do that. Encode it "
                "again."
            )
        log.error("The process of a video was ended from outside (%s).", error.by)
        return "killed", UnavailableError(
            "The process that decoded this video was ended, as happens when memory is short. Try again in a moment."
        )
