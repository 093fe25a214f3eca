"""A file that is read while it grows."""

import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest

from service.api.ingest.growing_file import GrowingFile
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


def test_the_announced_length_is_known_before_the_bytes() -> None:
    file = GrowingFile(length=100, patience_seconds=10)
    assert file.seek(0, os.SEEK_END) == 100
    file.feed(b"x" * 60)
    file.finish()
    assert file.seek(0, os.SEEK_END) == 60
    assert file.seek(-10, os.SEEK_CUR) == 50
    assert len(file.read(100)) == 10


def test_a_body_that_comes_to_a_halt_counts_as_cut_short() -> None:
    file = GrowingFile(length=100, patience_seconds=0.05)
    file.feed(b"abc")
    assert file.read(3) == b"abc"
    assert file.read(3) == b""


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
