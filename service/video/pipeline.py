"""A video through a task: decoded on a thread of its own, its frames fanned out, its results given in order of time."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.bounded_thread import START_SECONDS
from service.card import ImageInput
from service.errors import ClientLeftError, FovealError, UnavailableError
from service.fanout import FanOut, HeldBytes, Place, run_alone
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner, Window
from service.imaging.decode import Limits
from service.imaging.resize import fit_image
from service.imaging.room import PixelRoom
from service.imaging.source_image import SourceImage
from service.metrics import Metrics
from service.own_thread import OwnThread
from service.runtime.job import Job, JobResult, Trace
from service.runtime.model import Lease, Model
from service.video.decoder_bytes import decoder_bytes
from service.video.events import VideoEvent, VideoFrame, VideoStart, VideoSummary
from service.video.frame import DRAWN_BYTES_PER_PIXEL, HELD_BYTES_PER_PIXEL
from service.video.mp4 import encoder_bytes
from service.video.opener import OpenerOf, Opening, OpeningHere
from service.video.opening import AnyClip, AnyFrame
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from service.video.source import Source
from service.video_memory import MOST_HELD_BYTES, VideoMemory

Kept = TypeVar("Kept")
LIKELY_BYTES_PER_PIXEL = 16
"""What most decoders hold, with what malloc keeps: H.264 of three reference frames took 12 to 20 with its frame."""


@dataclass(frozen=True, slots=True)
class VideoRun:
    """How one video runs.

    Args:
        task: its name, for the events.
        model: the task's network.
        backbone: the network that the frames run through; the same, but for a temporal network.
        combiner: combines the frames' results.
        sampling: which frames are wanted.
        draws: whether each result is drawn on its frame.
        timeout_seconds: how long each frame, or window, may take from when it is queued.
        served: what the start says of who answers.
        follow: what is done with that which was kept of a frame before it is combined; None: nothing.
        leases: of both networks, which drain until the video has ended.
    """

    task: str
    model: Model
    backbone: Model
    combiner: Combiner[Any]
    sampling: Sampling
    draws: bool
    timeout_seconds: float
    served: Mapping[str, Any]
    follow: Callable[[Any], Awaitable[Any]] | None = None
    leases: tuple[Lease | None, ...] = ()


class Arrival(Protocol):
    """How a file arrives whose bytes come while it is read; all is called on the event loop."""

    @property
    def expected(self) -> int:
        """How many bytes it will have, or has by now where that is not known."""
        ...

    async def begun(self) -> None:
        """Wait until there is something to do."""
        ...

    def when_starved(self, call: Callable[[], None] | None) -> None:
        """Call a function on the event loop whenever the reader waits for bytes that do not come."""
        ...


@dataclass(frozen=True, slots=True)
class VideoPipeline:
    """Runs videos. Holds no state of a video: what is limited, `fan_out`, `limits`, `room` and `memory` limit."""

    fan_out: FanOut
    limits: VideoLimits
    metrics: Metrics
    room: PixelRoom
    memory: VideoMemory
    opener: OpenerOf = OpeningHere
    """Opens them: in this process, or each in one of its own."""
    process_bytes: int = 0
    """What that one takes besides."""

    async def run(
        self,
        run: VideoRun,
        source: Source,
        *,
        stop_reading: Callable[[], None],
        arrival: Arrival | None = None,
    ) -> AsyncGenerator[VideoEvent, None]:
        """Yield the start, each sampled frame in order of time, and the summary; iterate inside `contextlib.aclosing`.

        Args:
            run: how.
            source: the file, which may still be arriving.
            stop_reading: makes a read of `source` that waits for more bytes return.
            arrival: how `source` arrives. The video has a place among those that run only while there is something
                to do; None: it is there.

        Raises:
            OverloadedError: as many videos, explanations and chains are running as may, or no memory was free in time.
            VideoError: the video can not be read.
            TooManyPixelsError: its frames are larger than is allowed, or than the memory has room for.
            UnavailableError: a network is not ready, the service ends, or a frame waited for too long.
        """
        decoder = 0

        def goes_on(call: "Future[Any]") -> None:
            self.fan_out.keep_until(call)
            self.memory.keep_until(call, 0 if arrival is None else arrival.expected, decoder)

        opening = opened(
            source,
            run.sampling,
            self.limits,
            self.metrics,
            stop_reading=stop_reading,
            goes_on=goes_on,
            when_closed=self.room.give_back,
            opener=self.opener,
        )
        if arrival is not None:
            await arrival.begun()
        with self.fan_out.admit() as place, _given_back(place, arrival):
            expected = 0 if arrival is None else arrival.expected
            async with opening as reader:
                pixels = self._frame_pixels(reader.clip)
                decoder = self._decoder_bytes(reader.clip, pixels, expected) + self.process_bytes
                likely = min(decoder, LIKELY_BYTES_PER_PIXEL * pixels) if run.draws else 0
                memory = self.memory.working(
                    decoder - likely,
                    _held_bytes(pixels, draws=run.draws),
                    self.fan_out.in_flight,
                    run.timeout_seconds,
                    drawing_bytes=likely + encoder_bytes(pixels) if run.draws else 0,
                )
                async with memory as most:
                    results = run_frames(
                        reader,
                        run.backbone,
                        run.combiner,
                        self.fan_out,
                        self.room,
                        timeout_seconds=run.timeout_seconds,
                        draws=run.draws,
                        most_held_bytes=most,
                        place=place,
                    )
                    started = False
                    async with aclosing(results):
                        async for result in results:
                            if not started:
                                started = True
                                yield VideoStart(run.served, run.task, reader.clip.info)
                            yield await _combined(result, run)
                    yield await _summary(reader.clip, run)

    def _frame_pixels(self, clip: AnyClip) -> int:
        """Return how many pixels a frame of a video may have.

        Raises:
            TooManyPixelsError: the memory has no room for one.
        """
        pixels, largest = clip.pixels, self.room.largest
        if not pixels:
            pixels = min(self.limits.max_pixels, largest or self.limits.max_pixels)
        self.room.require(pixels)
        return pixels

    def _decoder_bytes(self, clip: AnyClip, pixels: int, file_bytes: int) -> int:
        """Return what the decoder of a video may hold, and let it hold no more.

        Where memory is short, frames that are larger than the header says are not decoded; else those that its share
        of the memory has room for.
        """
        counted = decoder_bytes(clip.info.codec, pixels, file_bytes, clip.kept)
        is_short = self.room.largest is not None
        if not (is_short or self.memory.is_bound):
            return counted
        share = 0 if is_short else self.memory.share(self.fan_out.requests)
        clip.allow(int(pixels * max(1, share / max(1, counted))))
        return max(counted, share)


@contextmanager
def _given_back(place: Place, arrival: Arrival | None) -> Iterator[None]:
    """Give the place to others while no bytes come."""
    if arrival is None:
        yield
        return
    arrival.when_starved(place.leave)
    try:
        yield
    finally:
        arrival.when_starved(None)


@dataclass(frozen=True, slots=True)
class FrameResult(Generic[Kept]):
    """What was kept of a sampled frame's outputs, or its error; the frame drawn, where that was wanted."""

    number: int
    seconds: float
    kept: Kept | FovealError
    drawn: Image.Image | None = None
    trace: Trace | None = None


class FrameReader:
    """A video's frames, drawn one at a time from a thread that decodes nothing ahead of what is wanted."""

    def __init__(self, clip: AnyClip, thread: OwnThread, metrics: Metrics) -> None:
        self.clip = clip
        self._frames: Iterator[AnyFrame] = iter(clip)
        self._thread = thread
        self._metrics = metrics
        self._counted = (0, 0, 0)

    async def next(self) -> AnyFrame | None:
        """Return the next frame, None behind the last.

        Raises:
            VideoError: the video holds no frame that can be read.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, next, self._frames, None)
        finally:
            self._count()

    def _count(self) -> None:
        counts = self.clip.counts
        now = (counts.decoded, counts.sampled, counts.skipped)
        for outcome, before, after in zip(
            ("decoded", "sampled", "skipped"), self._counted, now, strict=True
        ):
            self._metrics.video_frames.labels(outcome).inc(max(0, after - before))
        self._counted = now


def _nothing() -> None:
    """Nobody wants to know."""


def _nothing_to_keep(_: "Future[Any]") -> None:
    """Nobody counts the thread."""


@asynccontextmanager
async def opened(
    source: Source,
    sampling: Sampling,
    limits: VideoLimits,
    metrics: Metrics,
    *,
    stop_reading: Callable[[], None],
    goes_on: "Callable[[Future[Any]], None]" = _nothing_to_keep,
    when_closed: Callable[[], None] = _nothing,
    thread: OwnThread | None = None,
    start_seconds: float = START_SECONDS,
    opener: OpenerOf = OpeningHere,
) -> AsyncIterator[FrameReader]:
    """Open a video for the length of the block; the end of the block does not wait for the decoding thread.

    Args:
        source: the file, which may still be arriving.
        sampling: which frames are wanted.
        limits: what a video may cost.
        metrics: counts the frames.
        stop_reading: makes a read that waits for more bytes return.
        goes_on: gets the call that the thread still makes at the end of the block, which nothing can stop.
        when_closed: called on the thread when the video is closed.
        thread: decodes it; None: one is made.
        start_seconds: how long it may take to begin.
        opener: opens it.

    Raises:
        VideoError: the video can not be read.
        RuntimeError: the system gives no further thread, or it did not begin in time.
    """
    thread = thread or OwnThread("foveal-video")
    loop = asyncio.get_running_loop()
    video: Opening = opener(source, sampling, limits)
    opening = loop.run_in_executor(thread, video.open)
    late = loop.call_later(start_seconds, thread.give_up)
    opening.add_done_callback(lambda _: late.cancel())
    try:
        clip = await asyncio.shield(opening)
        try:
            yield FrameReader(clip, thread, metrics)
        finally:
            clip.stop()
    finally:
        video.stop()
        stop_reading()
        if thread.unfinished is not None:
            goes_on(thread.unfinished)
        opening.add_done_callback(partial(_close, thread, when_closed))


def _close(
    thread: OwnThread, when_closed: Callable[[], None], opening: "asyncio.Future[AnyClip]"
) -> None:
    """Close the clip on its thread, after what that thread still does, and let the thread end."""
    if not opening.cancelled() and opening.exception() is None:
        thread.submit(opening.result().close)
        thread.submit(when_closed)
    thread.shutdown(wait=False)


async def run_frames(
    reader: FrameReader,
    model: Model,
    combiner: Combiner[Kept],
    fan_out: FanOut,
    room: PixelRoom,
    *,
    timeout_seconds: float,
    draws: bool = False,
    most_held_bytes: int = MOST_HELD_BYTES,
    place: Place | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> AsyncGenerator[FrameResult[Kept], None]:
    """Yield what was kept of each sampled frame, in order of time; iterate inside `contextlib.aclosing`.

    Frames are converted, fitted, run and read on the model's workers, a few at a time, after single images.
    Only as many are held as `most_held_bytes` allows, one at least, and a large one is converted, and its result read
    and drawn, only while there is room for it in `room`.

    Raises:
        UnavailableError: the model is not ready, the service ends, or a frame waited for longer than `timeout_seconds`.
        VideoError: there was no frame.
    """
    coming: deque[_InFlight] = deque()
    held = HeldBytes(most_held_bytes)

    async def jobs() -> AsyncGenerator[Job[SourceImage, tuple[Kept, Image.Image | None]], None]:
        while (frame := await reader.next()) is not None:
            if place is not None and not place.held:
                await place.come_back(timeout_seconds)
            size = frame.held_bytes + (DRAWN_BYTES_PER_PIXEL * frame.pixels if draws else 0)
            held.add(size)
            coming.append(_InFlight(frame.number, frame.seconds, size))
            until = clock() + timeout_seconds
            prepare = partial(_prepare, frame, model.card.image_input, room, until)
            del frame
            keep = partial(_keep, combiner, draws)
            yield Job(prepare, partial(_read_in_room, keep, room, until))
            await held.room_for(size)

    outcomes = fan_out.run(model, jobs(), timeout_seconds=timeout_seconds)
    async with aclosing(outcomes):
        async for outcome in outcomes:
            shown = coming.popleft()
            held.remove(shown.held_bytes)
            if isinstance(outcome, UnavailableError | ClientLeftError):
                raise outcome
            if isinstance(outcome, JobResult):
                kept, drawn = outcome.value
                yield FrameResult(shown.number, shown.seconds, kept, drawn, outcome.trace)
            else:
                yield FrameResult(shown.number, shown.seconds, outcome)


class _InFlight(NamedTuple):
    """A frame in flight: its number, its seconds, and what it takes."""

    number: int
    seconds: float
    held_bytes: int


async def _combined(frame: FrameResult[Any], run: VideoRun) -> VideoFrame:
    """Add a frame to the video's results, and let a temporal network read the windows that end with it."""
    result: Mapping[str, Any] | FovealError
    if isinstance(frame.kept, FovealError):
        result = frame.kept
    else:
        kept = frame.kept if run.follow is None else await run.follow(frame.kept)
        added = await asyncio.to_thread(run.combiner.add, frame.seconds, kept)
        windows = await _read_windows(run)
        result = {**added, "windows": windows} if windows else added
    drawn = frame.drawn
    if drawn is not None:
        drawn = await asyncio.to_thread(run.combiner.caption, drawn)
    return VideoFrame(frame.number, frame.seconds, result, drawn, frame.trace)


async def _summary(clip: AnyClip, run: VideoRun) -> VideoSummary:
    run.combiner.flush()
    await _read_windows(run)
    result = await asyncio.to_thread(run.combiner.summary)
    return VideoSummary(clip.ended, clip.detail, clip.counts, result)


async def _read_windows(run: VideoRun) -> list[Mapping[str, Any]]:
    """Run the windows that are complete through the task's network, after single images, and return their results.

    Raises:
        FovealError: the network is not ready, or failed.
    """
    results = []
    for window in run.combiner.take_windows():
        job = Job(partial(_features, window), _copied)
        (outcome,) = await run_alone(run.model, job, run.timeout_seconds)
        if isinstance(outcome, FovealError):
            raise outcome
        results.append(run.combiner.add_window(window, outcome.value))
    return results


def _features(window: Window) -> tuple[NDArray[np.float32], None]:
    return window.features, None


def _copied(outputs: Outputs, _: None) -> Outputs:
    """Return one row of each output, apart from the batch that it is a view of."""
    return {name: rows.copy() for name, rows in outputs.items()}


def _held_bytes(pixels: int, *, draws: bool) -> int:
    """Return about how many bytes a frame in flight takes."""
    return (HELD_BYTES_PER_PIXEL + (DRAWN_BYTES_PER_PIXEL if draws else 0)) * pixels


def _prepare(
    frame: AnyFrame, target: ImageInput, room: PixelRoom, until: float
) -> tuple[NDArray[np.uint8], SourceImage]:
    with room.hold(frame.pixels, until, of_video=True):
        image = frame.image()
        tensor, geometry = fit_image(image, target)
    return tensor, SourceImage(image, geometry, Limits(frame.max_pixels))


def _keep(
    combiner: Combiner[Kept],
    draws: bool,  # noqa: FBT001  # bound by partial
    outputs: Outputs,
    source: SourceImage,
) -> tuple[Kept, Image.Image | None]:
    kept = combiner.keep(outputs, source)
    return kept, combiner.draw(outputs, source) if draws else None


def _read_in_room(
    keep: Callable[[Outputs, SourceImage], tuple[Kept, Image.Image | None]],
    room: PixelRoom,
    until: float,
    outputs: Outputs,
    source: SourceImage,
) -> tuple[Kept, Image.Image | None]:
    with room.hold(source.geometry.width * source.geometry.height, until, of_video=True):
        return keep(outputs, source)
