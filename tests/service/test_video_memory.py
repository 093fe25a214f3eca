"""Videos are lent what bodies and images do not use, and wait, while what fits into the other half never waits."""

import asyncio
import math
import threading
from concurrent.futures import Future
from contextlib import closing

import pytest

from service.api.ingest.arriving import ArrivingBodies
from service.body_memory import BodyMemory
from service.errors import BodyTooLargeError, OverloadedError, TooManyPixelsError
from service.imaging.room import TIGHT_BYTES_PER_PIXEL, PixelRoom
from service.video_memory import MOST_HELD_BYTES, VideoMemory
from tests.service.api.client import settle

pytestmark = pytest.mark.anyio

MEBIBYTE = 1 << 20
PIXELS = 6 * MEBIBYTE
"""For which there is room, of 108 MiB; bodies have 36."""


class Shared:
    """A process where bodies and large images have 144 MiB, of which videos may be lent 72."""

    def __init__(self) -> None:
        self.bodies, self.room = BodyMemory(), PixelRoom(PIXELS)
        self.videos = VideoMemory(self.bodies, self.room, most_file_bytes=1 << 30)
        self.bodies.fit(36 * MEBIBYTE)
        self.videos.fit(0, 36 * MEBIBYTE, PIXELS)


async def test_without_a_limit_no_video_waits() -> None:
    videos = VideoMemory(BodyMemory(), PixelRoom(PIXELS), most_file_bytes=1)
    videos.require(1 << 40)
    await videos.take_file(videos.files.place(), 1 << 40, 0)
    async with videos.working(1 << 40, 1 << 40, 8, 0) as held:
        assert held == MOST_HELD_BYTES


async def test_files_have_two_thirds_and_work_the_rest_of_half_of_all() -> None:
    videos = Shared().videos
    assert (videos.files.limit, videos.work.limit) == (48 * MEBIBYTE, 24 * MEBIBYTE)
    videos.require(48 * MEBIBYTE)
    with pytest.raises(BodyTooLargeError, match=r"48\.0 MiB that the memory .* fewer workers"):
        videos.require(48 * MEBIBYTE + 1)
    videos.fit(2 << 30, 36 * MEBIBYTE, PIXELS)
    assert videos.files.limit == 1 << 30


async def test_a_file_waits_for_another_one_and_is_refused_when_that_takes_too_long() -> None:
    videos = Shared().videos
    with closing(videos.files.place()) as first, closing(videos.files.place()) as second:
        await videos.take_file(first, 30 * MEBIBYTE, 30)
        with pytest.raises(OverloadedError, match="No memory for the video"):
            await videos.take_file(second, 30 * MEBIBYTE, 0.01)
        waiting = asyncio.create_task(videos.take_file(second, None, 30))
        await settle()
        assert not waiting.done()
        first.close()
        await waiting
        assert videos.bytes == 48 * MEBIBYTE
    assert videos.bytes == 0


async def test_a_thread_that_goes_on_after_its_video_keeps_the_memory_until_it_ends() -> None:
    videos, call = Shared().videos, Future[None]()
    with closing(videos.files.place()) as file, closing(videos.files.place()) as next_file:
        await videos.take_file(file, 30 * MEBIBYTE, 30)
        videos.keep_until(call, 30 * MEBIBYTE, 5 * MEBIBYTE)
        file.close()
        assert videos.bytes == 35 * MEBIBYTE
        waiting = asyncio.create_task(videos.take_file(next_file, 20 * MEBIBYTE, 30))
        await settle()
        assert not waiting.done()
        await asyncio.to_thread(call.set_result, None)
        await waiting
    assert videos.bytes == 0


async def test_work_takes_no_more_than_there_is_and_has_room_for_one_frame_at_least() -> None:
    videos = Shared().videos
    async with videos.working(MEBIBYTE, MEBIBYTE, 8, 30) as held:
        assert (held, videos.bytes) == (3 * MEBIBYTE, 4 * MEBIBYTE)
    async with videos.working(1 << 40, 5 * MEBIBYTE, 8, 30) as held:
        assert (held, videos.bytes) == (5 * MEBIBYTE, 24 * MEBIBYTE)
        with pytest.raises(OverloadedError):
            async with videos.working(1, 1, 1, 0.01):
                pass
    assert videos.bytes == 0


async def test_what_needs_more_than_there_is_beside_nothing_is_refused_where_memory_is_short() -> (
    None
):
    shared = Shared()
    async with shared.videos.working(144 * MEBIBYTE, MEBIBYTE, 8, 30):
        pass  # the operator has chosen how large images may be
    shared.room.fit(PIXELS, PIXELS)
    async with shared.videos.working(143 * MEBIBYTE, MEBIBYTE, 8, 30) as held:
        assert held == 3 * MEBIBYTE
    with pytest.raises(
        TooManyPixelsError, match=r"may take 145 MiB.* room for 144\. .*smaller frames"
    ):
        async with shared.videos.working(144 * MEBIBYTE, MEBIBYTE, 8, 30):
            pass
    assert shared.videos.bytes == 0


async def test_what_drawing_takes_is_taken_beside_the_part_of_decoders_and_frames() -> None:
    videos = Shared().videos
    async with videos.working(1 << 40, MEBIBYTE, 1, 30, drawing_bytes=30 * MEBIBYTE) as held:
        assert (held, videos.bytes) == (MEBIBYTE, 54 * MEBIBYTE)
        with pytest.raises(OverloadedError):
            async with videos.working(1, 1, 1, 0.01):
                pass
    async with videos.working(1 << 40, MEBIBYTE, 1, 30, drawing_bytes=60 * MEBIBYTE):
        assert videos.bytes == 72 * MEBIBYTE
    assert videos.bytes == 0


async def test_a_video_whose_drawing_takes_more_than_videos_have_is_refused_where_memory_is_short() -> (
    None
):
    shared = Shared()
    async with shared.videos.working(1, MEBIBYTE, 1, 30, drawing_bytes=72 * MEBIBYTE):
        pass  # the operator has chosen how large images may be
    shared.room.fit(PIXELS, PIXELS)
    async with shared.videos.working(1, MEBIBYTE, 1, 30, drawing_bytes=71 * MEBIBYTE):
        assert shared.videos.bytes == 72 * MEBIBYTE
    with pytest.raises(
        TooManyPixelsError,
        match=r"^To draw .* takes 73 MiB.* room for 72\. .*smaller frames.* JSON",
    ):
        async with shared.videos.working(1, MEBIBYTE, 1, 30, drawing_bytes=72 * MEBIBYTE):
            pass
    async with shared.videos.working(140 * MEBIBYTE, MEBIBYTE, 1, 30):
        pass  # it is not drawn
    assert shared.videos.bytes == 0


async def test_beside_videos_what_fits_into_the_other_half_does_not_wait() -> None:
    shared = Shared()
    file, large, small = shared.videos.files.place(), shared.bodies.place(), shared.bodies.place()
    await shared.videos.take_file(file, 48 * MEBIBYTE, 30)
    async with shared.videos.working(1 << 40, MEBIBYTE, 1, 30):
        waiting = asyncio.create_task(large.take(19 * MEBIBYTE))
        await settle()
        await small.take(18 * MEBIBYTE)
        with shared.room.hold(PIXELS // 2, 0 + math.inf):
            assert shared.room.in_work == PIXELS // 2
        small.close()
        await settle()
        assert not waiting.done()
    file.close()
    await waiting


async def test_an_image_that_waits_for_videos_holds_up_no_other_one_and_no_frame() -> None:
    shared = Shared()
    file = shared.videos.files.place()
    await shared.videos.take_file(file, 48 * MEBIBYTE, 30)
    held = threading.Event()

    def hold() -> None:
        with shared.room.hold(PIXELS, math.inf):
            held.set()

    image = threading.Thread(target=hold)
    image.start()
    while not shared.room.waiting:
        pass
    with shared.room.hold(PIXELS // 2, math.inf):
        pass
    with shared.room.hold(PIXELS, math.inf, of_video=True):
        assert shared.room.in_work == PIXELS // 2
    assert not held.is_set()
    file.close()
    image.join()
    assert held.is_set()


async def test_a_video_waits_for_bodies_and_images_that_have_what_it_would_be_lent() -> None:
    shared = Shared()
    file, body = shared.videos.files.place(), shared.bodies.place()
    await body.take(30 * MEBIBYTE)
    with shared.room.hold(PIXELS, math.inf):
        waiting = asyncio.create_task(shared.videos.take_file(file, 48 * MEBIBYTE, 30))
        await settle()
        body.close()
        await settle()
        assert not waiting.done()
    await waiting
    assert shared.videos.bytes == 48 * MEBIBYTE


async def test_bodies_that_only_arrive_do_not_give_way_to_one_that_waits_for_videos() -> None:
    shared = Shared()
    file, complete = shared.videos.files.place(), shared.bodies.place()
    await shared.videos.take_file(file, 48 * MEBIBYTE, 30)
    arriving = ArrivingBodies(1 << 30, memory=shared.bodies)
    with arriving.counted(shared.bodies.place()) as body:
        body.add(MEBIBYTE)
        waiting = asyncio.create_task(complete.take(36 * MEBIBYTE))
        await settle()
        assert not body.gave_way
        assert not waiting.done()
    waiting.cancel()


async def test_what_is_free_beside_bodies_and_images_is_lent_first() -> None:
    shared = Shared()
    free = 48 * MEBIBYTE
    shared.bodies.fit(36 * MEBIBYTE + free)
    shared.videos.fit(free, 36 * MEBIBYTE, PIXELS)
    file = shared.videos.files.place()
    await shared.videos.take_file(file, free, 30)
    with shared.room.hold(PIXELS, math.inf):
        assert shared.room.in_work == PIXELS
    await shared.bodies.place().take(36 * MEBIBYTE)
    assert TIGHT_BYTES_PER_PIXEL * PIXELS + shared.bodies.bytes + shared.videos.bytes == 192 << 20


async def test_work_that_never_fits_is_refused_also_where_images_of_any_size_fit() -> None:
    videos = Shared().videos
    size = 145 * MEBIBYTE
    async with videos.working(size, 0, 8, 1):
        assert not videos.is_bound  # the operator has chosen the largest image
    videos.fit(0, 36 * MEBIBYTE, PIXELS, is_bound=True)
    assert videos.is_bound
    with pytest.raises(TooManyPixelsError, match=r"may take 145 MiB.* room for 144\."):
        async with videos.working(size, 0, 8, 1):
            pass


async def test_videos_that_run_beside_each_other_have_equal_shares_of_the_work() -> None:
    videos = Shared().videos
    assert videos.share(4) == 6 * MEBIBYTE
    assert VideoMemory(BodyMemory(), PixelRoom(PIXELS), most_file_bytes=1).share(4) == 0
