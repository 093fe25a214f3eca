"""A file that is read while it grows."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest

from service.api.ingest.growing_file import BEGUN_BYTES, GrowingFile
from service.video.reader import Clip, VideoLimits
from service.video.sampling import Sampling
from tests.clips import bikes, counting


def test_a_reader_waits_for_bytes_and_gets_them_in_order() -> None:
    file = GrowingFile(length=None, patience_seconds=10)
    with ThreadPoolExecutor(1) as reader:
        first = reader.submit(file.read, 4)
        file.feed(b"abcdef")
        assert first.result() == b"abcd"
        rest = reader.submit(file.read)
        file.feed(b"gh")
        file.finish()
        assert rest.result() == b"efgh"
    assert file.read(4) == b""


def test_every_piece_wakes_the_reader() -> None:
    file = GrowingFile(length=None, patience_seconds=60)
    with ThreadPoolExecutor(1) as reader:
        for number in range(200):
            reading = reader.submit(file.read, 1)
            file.feed(bytes([number]))
            assert reading.result(timeout=10) == bytes([number])


def test_the_announced_length_is_known_before_the_bytes() -> None:
    file = GrowingFile(length=100, patience_seconds=10)
    assert file.seek(0, os.SEEK_END) == 100
    file.feed(b"x" * 60)
    file.finish()
    assert file.seek(0, os.SEEK_END) == 60
    assert file.seek(-10, os.SEEK_CUR) == 50
    assert len(file.read(100)) == 10


def test_a_body_that_comes_to_a_halt_counts_as_cut_short() -> None:
    file = GrowingFile(length=100, patience_seconds=0)
    file.feed(b"abc")
    assert file.read(3) == b"abc"
    assert file.seek(0, os.SEEK_END) == 100
    file.seek(3)
    assert file.read(3) == b""
    assert file.seek(0, os.SEEK_END) == 3


def test_a_read_returns_what_there_is_of_the_bytes_that_it_is_for() -> None:
    file = GrowingFile(length=None, patience_seconds=0)
    file.feed(b"abcdef")
    assert (file.read(4), file.tell()) == (b"abcd", 4)
    assert (file.read(4), file.tell()) == (b"ef", 6)
    assert (file.seek(1), file.read(0), file.read(-1)) == (1, b"", b"bcdef")


@pytest.mark.parametrize(
    ("size", "chunk", "ended"), [(0, b"", False), (4, b"abc", False), (-1, b"abc", True)]
)
def test_a_read_waits_for_one_byte_and_a_read_of_all_for_the_end(
    size: int, chunk: bytes, *, ended: bool
) -> None:
    file = GrowingFile(length=100, patience_seconds=0)  # a reader that waits ends the file
    file.feed(b"abc")
    assert file.read(size) == chunk
    assert file.seek(0, os.SEEK_END) == (3 if ended else 100)


def test_the_end_of_a_file_of_unknown_length_is_waited_for() -> None:
    file = GrowingFile(length=None, patience_seconds=10)
    with ThreadPoolExecutor(1) as reader:
        end = reader.submit(file.seek, -1, os.SEEK_END)
        file.feed(b"abc")
        file.feed(b"de")
        file.finish()
        assert end.result() == 4
    assert file.read(9) == b"e"


def test_a_position_is_never_before_the_start_and_may_be_behind_the_end() -> None:
    file = GrowingFile(length=None, patience_seconds=0)
    file.feed(b"abc")
    file.finish()
    assert file.seek(-9, os.SEEK_CUR) == 0
    assert file.seek(9) == 9
    assert file.read(1) == b""
    assert file.readable()
    assert file.seekable()


def test_a_piece_without_bytes_is_no_sign_that_the_body_came_to_a_halt() -> None:
    file = GrowingFile(length=None, patience_seconds=10)
    with ThreadPoolExecutor(1) as reader:
        rest = reader.submit(file.read)
        for piece in (b"", b"ab", b"", b"c"):
            file.feed(piece)
        file.finish()
        assert rest.result() == b"abc"


@pytest.mark.parametrize("body", [counting(60, "webm", "libvpx"), bikes()], ids=["webm", "mp4"])
def test_a_clip_read_while_it_arrives_gives_the_frames_of_the_whole_file(body: bytes) -> None:
    file = GrowingFile(length=len(body), patience_seconds=10)
    sampling = Sampling(fps=2)
    with ThreadPoolExecutor(1) as reader:
        found = reader.submit(lambda: list(Clip(file, sampling, VideoLimits())))
        for start in range(0, len(body), 5000):
            file.feed(body[start : start + 5000])
        file.finish()
    whole = list(Clip(BytesIO(body), sampling, VideoLimits()))
    assert [one.seconds for one in found.result()] == [one.seconds for one in whole]


@pytest.mark.anyio
async def test_the_work_begins_with_enough_bytes_or_all_of_them() -> None:
    for pieces in ((BEGUN_BYTES,), (1, BEGUN_BYTES - 1)):
        file = GrowingFile(length=None, patience_seconds=10)
        begun = asyncio.create_task(file.begun())
        for piece in pieces:
            await asyncio.sleep(0)
            assert not begun.done()
            file.feed(bytes(piece))
        await begun
    ended = GrowingFile(length=None, patience_seconds=10)
    ended.feed(b"x")
    ended.finish()
    await ended.begun()


@pytest.mark.anyio
async def test_a_reader_that_waits_in_vain_says_so_and_reads_on() -> None:
    file = GrowingFile(length=None, patience_seconds=10, starved_seconds=0.01)
    starved = asyncio.Event()
    file.when_starved(starved.set)
    for _ in range(2):
        reading = asyncio.create_task(asyncio.to_thread(file.read, 4))
        await starved.wait()
        starved.clear()
        file.feed(b"next")
        assert await reading == b"next"
    file.finish()
    assert await asyncio.to_thread(file.read) == b""


@pytest.mark.anyio
async def test_bytes_that_come_one_by_one_starve_a_reader_as_none_do() -> None:
    file = GrowingFile(length=None, patience_seconds=10, starved_seconds=0.05)
    starved = asyncio.Event()
    file.when_starved(starved.set)
    while not starved.is_set():
        reading = asyncio.create_task(asyncio.to_thread(file.read, 4))
        await asyncio.wait([reading], timeout=0.01)  # less than what starves it
        file.feed(b"x")
        assert await reading == b"x"
