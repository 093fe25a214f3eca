"""A video through a task: its events in order, its place among the fan-outs, and what stays when it is left."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from service.body_memory import BodyMemory
from service.bounded_thread import BoundedThread
from service.engine import Engine, open_engine
from service.errors import (
    DeadlineError,
    InferenceError,
    OverloadedError,
    TooManyPixelsError,
    UnavailableError,
    UnsupportedVideoError,
    shortage_of,
)
from service.fanout import FanOut
from service.imaging.room import SMALL_PIXELS, PixelRoom
from service.own_thread import OwnThread
from service.settings import Settings
from service.tasks.tasks import TASKS
from service.video.events import VideoFrame, VideoStart, VideoSummary
from service.video.options import SamplingOptions
from service.video.pipeline import VideoRun, opened, run_frames
from service.video.sampling import Sampling
from service.video_memory import VideoMemory
from tests.clips import avi_of, counting
from tests.images import encode
from tests.servables import write_servable

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    async with open_engine(Settings(models=root, threads=1, max_fan_outs=1)) as opened:
        yield opened


def run_of(engine: Engine, *, draws: bool = False) -> VideoRun:
    task = TASKS["classify"]
    assert task.over_time is not None
    options = task.over_time.options()
    return engine.dispatch.video_run(task, options, SamplingOptions(every_n=5), draws=draws)


def do_nothing() -> None:
    """The file is complete."""


def frames(outcome: str, engine: Engine) -> float:
    found = engine.metrics.registry.get_sample_value(
        "foveal_video_frames_total", {"outcome": outcome}
    )
    return found or 0.0


async def test_events_come_in_order_and_frames_are_counted(engine: Engine) -> None:
    before = frames("sampled", engine)
    video = BytesIO(counting(12, "mp4", "h264"))
    running = engine.videos.run(run_of(engine), video, stop_reading=do_nothing)
    async with aclosing(running):
        start, *middle, summary = [event async for event in running]
    assert isinstance(start, VideoStart)
    assert [one.number for one in middle if isinstance(one, VideoFrame)] == [0, 5, 10]
    assert all(isinstance(one, VideoFrame) and one.drawn is None and one.trace for one in middle)
    assert isinstance(summary, VideoSummary)
    assert (summary.ended, summary.counts.sampled) == ("complete", 3)
    assert frames("sampled", engine) - before == 3


async def test_frames_are_drawn_where_that_is_wanted(engine: Engine) -> None:
    video = BytesIO(counting(5, "mp4", "h264"))
    running = engine.videos.run(run_of(engine, draws=True), video, stop_reading=do_nothing)
    async with aclosing(running):
        drawn = [one.drawn async for one in running if isinstance(one, VideoFrame)]
    assert [one is not None for one in drawn] == [True]


@pytest.mark.parametrize("draws", [False, True])
async def test_a_large_frame_waits_for_room_among_decoded_pixels_until_its_deadline(
    engine: Engine,
    draws: bool,  # noqa: FBT001  # of parametrize
) -> None:
    room = PixelRoom(SMALL_PIXELS + 1)
    videos = replace(engine.videos, room=room)

    async def events(seconds: float) -> list[Any]:
        run = replace(run_of(engine, draws=draws), timeout_seconds=seconds)
        running = videos.run(run, BytesIO(large_animation()), stop_reading=do_nothing)
        async with aclosing(running):
            return [event async for event in running]

    with room.hold(SMALL_PIXELS + 1, time.perf_counter() + 1), pytest.raises(DeadlineError):
        await events(0.2)
    assert [type(one) for one in await events(30)] == [VideoStart, VideoFrame, VideoSummary]
    assert room.in_work == 0


async def test_frames_that_memory_has_no_room_for_are_refused_before_one_is_decoded(
    engine: Engine,
) -> None:
    room = PixelRoom(SMALL_PIXELS)
    room.fit(SMALL_PIXELS, SMALL_PIXELS)
    videos = replace(engine.videos, room=room)
    before = frames("decoded", engine)
    running = videos.run(run_of(engine), BytesIO(large_animation()), stop_reading=do_nothing)
    with pytest.raises(TooManyPixelsError, match="more memory or fewer workers"):
        await anext(running)
    assert frames("decoded", engine) == before


@pytest.mark.parametrize(("largest", "shown"), [(None, 2), (SMALL_PIXELS, 1)])
async def test_where_memory_is_short_no_frame_is_decoded_that_is_larger_than_the_first_one(
    engine: Engine, largest: int | None, shown: int
) -> None:
    room = PixelRoom(SMALL_PIXELS)
    room.fit(SMALL_PIXELS, largest)
    sizes = [(64, 64), (900, 600)]
    video = avi_of([encode(Image.new("RGB", size), "JPEG") for size in sizes])
    run = replace(run_of(engine), sampling=Sampling(every_n=1))
    running = replace(engine.videos, room=room).run(run, BytesIO(video), stop_reading=do_nothing)
    async with aclosing(running):
        events = [event async for event in running]
    assert sum(isinstance(one, VideoFrame) for one in events) == shown
    assert isinstance(events[-1], VideoSummary)
    assert events[-1].ended == ("complete" if shown == 2 else "truncated")


async def test_a_video_decodes_nothing_while_there_is_no_memory_for_its_work(
    engine: Engine,
) -> None:
    memory = VideoMemory(BodyMemory(), PixelRoom(1), most_file_bytes=1)
    memory.fit(0, 0, 0)
    videos, video = replace(engine.videos, memory=memory), BytesIO(counting(5, "mp4", "h264"))
    assert memory.work.limit is not None
    other = memory.work.place()
    await other.take(memory.work.limit)
    before = frames("decoded", engine)
    running = videos.run(run_of(engine), video, stop_reading=do_nothing)
    async with aclosing(running):
        start = asyncio.ensure_future(anext(running))
        while not memory.work.waiting:
            await asyncio.sleep(0)
        assert frames("decoded", engine) == before
        other.close()
        assert isinstance(await start, VideoStart)
        assert memory.bytes
    assert memory.bytes == 0


def large_animation() -> bytes:
    """Return a GIF of two frames that are counted in a `PixelRoom`; the first is sampled."""
    body = BytesIO()
    first, second = (Image.new("P", (1250, 1000), color) for color in (1, 2))
    first.save(body, "GIF", save_all=True, append_images=[second], duration=100)
    return body.getvalue()


async def test_a_video_has_one_place_among_the_fan_outs_until_it_is_left(engine: Engine) -> None:
    woken = asyncio.Event()
    first = engine.videos.run(
        run_of(engine), BytesIO(counting(30, "mp4", "h264")), stop_reading=woken.set
    )
    async with aclosing(first):
        await anext(first)
        other = engine.videos.run(
            run_of(engine), BytesIO(counting(5, "mp4", "h264")), stop_reading=do_nothing
        )
        with pytest.raises(OverloadedError):
            await anext(other)
    assert woken.is_set()
    await starts_again(engine)


async def starts_again(engine: Engine) -> None:
    """Start a video when its thread has left the one before."""
    async with asyncio.timeout(30):
        while True:
            again = engine.videos.run(
                run_of(engine), BytesIO(counting(5, "mp4", "h264")), stop_reading=do_nothing
            )
            async with aclosing(again):
                try:
                    assert isinstance(await anext(again), VideoStart)
                except OverloadedError:
                    await asyncio.sleep(0.01)
                else:
                    return


class Blocking(BytesIO):
    """A file whose reader does not come back before the test wants it, whatever is stopped."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.reads, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads.set()
        assert self.go_on.wait(60)
        return super().read(size)


async def test_a_video_has_its_place_until_its_thread_has_left_it(engine: Engine) -> None:
    source = Blocking(counting(5, "mp4", "h264"))
    events = engine.videos.run(run_of(engine), source, stop_reading=do_nothing)
    running = asyncio.create_task(anext(events))
    assert await asyncio.to_thread(source.reads.wait, 30)
    running.cancel()
    await asyncio.wait([running])

    other = engine.videos.run(
        run_of(engine), BytesIO(counting(5, "mp4", "h264")), stop_reading=do_nothing
    )
    with pytest.raises(OverloadedError):
        await anext(other)
    source.go_on.set()
    await starts_again(engine)


async def test_what_is_no_video_leaves_the_place_free(engine: Engine) -> None:
    for _ in range(2):
        running = engine.videos.run(run_of(engine), BytesIO(b"text"), stop_reading=do_nothing)
        with pytest.raises(UnsupportedVideoError):
            await anext(running)


async def test_a_video_whose_thread_does_not_begin_fails_in_time(engine: Engine) -> None:
    started: list[BoundedThread] = []
    stopped = asyncio.Event()
    opening = opened(
        BytesIO(counting(5, "mp4", "h264")),
        SamplingOptions(every_n=5).sampling(1.0),
        engine.videos.limits,
        engine.metrics,
        stop_reading=stopped.set,
        thread=OwnThread("of-this-video", start_thread=started.append),
        start_seconds=0.01,
    )
    with pytest.raises(RuntimeError) as caught:
        async with opening:
            pass
    assert isinstance(shortage_of(caught.value), UnavailableError), "the client gets 503"
    assert stopped.is_set()
    assert len(started) == 1


async def test_what_must_be_done_when_a_video_is_closed_is_done_on_its_thread(
    engine: Engine,
) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads: list[str] = []

    def note() -> None:
        threads.append(threading.current_thread().name)
        loop.call_soon_threadsafe(closed.set)

    opening = opened(
        BytesIO(counting(5, "mp4", "h264")),
        SamplingOptions(every_n=5).sampling(1.0),
        engine.videos.limits,
        engine.metrics,
        stop_reading=do_nothing,
        when_closed=note,
        thread=OwnThread("of-this-video"),
    )
    async with opening as reader:
        assert await reader.next() is not None
        assert not threads
    await closed.wait()
    assert threads == ["of-this-video"]


class Drawing(FanOut):
    """Draws all jobs that it can before it answers the first, each with an error."""

    def __init__(self) -> None:
        super().__init__(requests=1, in_flight=100)
        self.drawn: list[int] = []

    async def run(self, model: Any, jobs: Any, *, timeout_seconds: float) -> Any:  # noqa: ARG002  # as of a fan-out
        waiting, done = [0], asyncio.Event()

        async def draw() -> None:
            async for _ in jobs:
                waiting[0] += 1
            done.set()

        drawing = asyncio.create_task(draw())
        while not done.is_set() or waiting[0]:
            for _ in range(20):
                await asyncio.sleep(0)
            if waiting[0]:
                self.drawn.append(waiting[0])
                waiting[0] -= 1
                yield InferenceError("of the test")
        await drawing


@dataclass
class SizedFrame:
    """A frame of which only the size matters."""

    number: int
    held_bytes: int
    seconds: float = 0.0
    pixels: int = 0


class Frames:
    """A reader of frames of one size."""

    def __init__(self, sizes: list[int], pixels: int = 0) -> None:
        self._frames = iter(
            [SizedFrame(number, size, pixels=pixels) for number, size in enumerate(sizes)]
        )

    async def next(self) -> SizedFrame | None:
        return next(self._frames, None)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [(1, [6, 5, 4, 3, 2, 1]), (40, [2, 2, 2, 2, 2, 1]), (50, [2, 2, 2, 2, 2, 1]), (51, [1] * 6), (900, [1] * 6)],
)  # fmt: skip
async def test_frames_in_flight_are_bounded_by_their_bytes(
    engine: Engine, size: int, drawn: list[int]
) -> None:
    fan_out, run = Drawing(), run_of(engine)
    reader: Any = Frames([size] * 6)
    results = run_frames(
        reader,
        run.model,
        run.combiner,
        fan_out,
        PixelRoom(1),
        timeout_seconds=1,
        most_held_bytes=100,
    )
    async with aclosing(results):
        assert [one.number async for one in results] == [0, 1, 2, 3, 4, 5]
    assert fan_out.drawn == drawn


async def test_a_frame_that_is_drawn_takes_more(engine: Engine) -> None:
    fan_out, run = Drawing(), run_of(engine)
    reader: Any = Frames([40] * 6, pixels=10)
    results = run_frames(
        reader,
        run.model,
        run.combiner,
        fan_out,
        PixelRoom(1),
        timeout_seconds=1,
        draws=True,
        most_held_bytes=100,
    )
    async with aclosing(results):
        assert len([one async for one in results]) == 6
    assert fan_out.drawn == [1] * 6
