"""A clip at work: decoded on a thread of its own, its frames fanned out, its answers told in the order of time."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.card import ImageInput
from service.errors import ClientLeftError, FovealError, UnavailableError
from service.fanout import FanOut
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner, Window
from service.imaging.decode import Limits
from service.imaging.resize import fit_image
from service.imaging.source_image import SourceImage
from service.metrics import Metrics
from service.runtime.job import Job, JobResult, Trace
from service.runtime.registry import Model
from service.video.container import Source
from service.video.reader import Clip, ClipLimits, Frame
from service.video.sampling import Sampling

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class FrameAnswer(Generic[Seen]):
    """What became of a sampled frame: what was seen, or its error; `drawn` where somebody draws."""

    number: int
    seconds: float
    seen: Seen | FovealError
    drawn: Image.Image | None = None
    trace: Trace | None = None


class FrameReader:
    """A clip's frames, drawn one at a time from a thread that decodes nothing ahead of what is asked for."""

    def __init__(self, clip: Clip, thread: ThreadPoolExecutor, metrics: Metrics) -> None:
        self.clip = clip
        self._frames: Iterator[Frame] = iter(clip)
        self._thread = thread
        self._metrics = metrics
        self._told = (0, 0, 0)

    async def next(self) -> Frame | None:
        """Return the next frame, None behind the last.

        Raises:
            VideoError: the clip holds no frame that can be read.
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
            ("decoded", "sampled", "skipped"), self._told, now, strict=True
        ):
            self._metrics.video_frames.labels(outcome).inc(max(0, after - before))
        self._told = now


@asynccontextmanager
async def opened(
    source: Source,
    sampling: Sampling,
    limits: ClipLimits,
    metrics: Metrics,
    *,
    let_go: Callable[[], None],
) -> AsyncIterator[FrameReader]:
    """Open a clip for the length of the block; nothing waits for its thread at the end.

    Args:
        source: the file, which may still be arriving.
        sampling: which frames are wanted.
        limits: what the clip may ask of us.
        metrics: counts the frames.
        let_go: makes a read that waits for more bytes return.

    Raises:
        VideoError: the clip can not be read.
    """
    thread = ThreadPoolExecutor(1, "foveal-video")
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(thread, Clip, source, sampling, limits)
    try:
        clip = await asyncio.shield(opening)
        try:
            yield FrameReader(clip, thread, metrics)
        finally:
            clip.stop()
    finally:
        let_go()
        opening.add_done_callback(partial(_close, thread))


def _close(thread: ThreadPoolExecutor, opening: "asyncio.Future[Clip]") -> None:
    """Close the clip on its thread, behind whatever that is still at, and let the thread end."""
    if not opening.cancelled() and opening.exception() is None:
        thread.submit(opening.result().close)
    thread.shutdown(wait=False)


async def look_at(
    frames: FrameReader,
    model: Model,
    combiner: Combiner[Seen],
    fan_out: FanOut,
    *,
    timeout_seconds: float,
    draws: bool = False,
) -> AsyncGenerator[FrameAnswer[Seen], None]:
    """Yield each sampled frame's answer, in order of time; iterate inside `contextlib.aclosing`.

    Frames are converted, fitted, run and read on the model's workers, behind single images and a few at a time.

    Raises:
        UnavailableError: the model is not ready, its service ends, or a frame waited for longer than `timeout_seconds`.
        VideoError: there was no frame.
    """
    coming: deque[tuple[int, float]] = deque()

    async def jobs() -> AsyncGenerator[Job[SourceImage, tuple[Seen, Image.Image | None]], None]:
        while (frame := await frames.next()) is not None:
            coming.append((frame.number, frame.seconds))
            prepare = partial(_prepare, frame, model.card.image_input)
            yield Job(prepare, partial(_finish, combiner, draws))

    outcomes = fan_out.run(model, jobs(), timeout_seconds=timeout_seconds)
    async with aclosing(outcomes):
        async for outcome in outcomes:
            number, seconds = coming.popleft()
            if isinstance(outcome, UnavailableError | ClientLeftError):
                raise outcome
            if isinstance(outcome, JobResult):
                seen, drawn = outcome.value
                yield FrameAnswer(number, seconds, seen, drawn, outcome.trace)
            else:
                yield FrameAnswer(number, seconds, outcome)


async def read_windows(
    combiner: Combiner[Any], model: Model, *, timeout_seconds: float
) -> list[Mapping[str, Any]]:
    """Take the windows that are due through the head over time, behind single images, and return their answers.

    Raises:
        FovealError: the head is not ready, or failed.
    """
    results = []
    for window in combiner.take_windows():
        job = Job(partial(_features, window), _copied)
        (outcome,) = await model.batcher.submit(
            [job], timeout_seconds=timeout_seconds, low_priority=True
        )
        if isinstance(outcome, FovealError):
            raise outcome
        results.append(combiner.add_window(window, outcome.value))
    return results


def _features(window: Window) -> tuple[NDArray[np.float32], None]:
    return window.features, None


def _copied(outputs: Outputs, _: None) -> Outputs:
    return {name: rows.copy() for name, rows in outputs.items()}


def _prepare(frame: Frame, target: ImageInput) -> tuple[NDArray[np.uint8], SourceImage]:
    image = frame.image()
    tensor, geometry = fit_image(image, target)
    return tensor, SourceImage(image, geometry, Limits(frame.max_pixels))


def _finish(
    combiner: Combiner[Seen],
    draws: bool,  # noqa: FBT001  # bound by partial
    outputs: Outputs,
    source: SourceImage,
) -> tuple[Seen, Image.Image | None]:
    seen = combiner.keep(outputs, source)
    return seen, combiner.draw(outputs, source) if draws else None
