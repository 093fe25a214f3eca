"""A file that is read while it grows."""

import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest

from service.api.ingest.growing_file import Inflow
from service.video.reader import Clip, ClipLimits
from service.video.sampling import Sampling
from tests.clips import bikes, counting


def test_a_reader_waits_for_bytes_and_gets_them_in_order() -> None:
    inflow = Inflow(length=None, patience_seconds=10)
    with ThreadPoolExecutor(1) as reader:
        first = reader.submit(inflow.read, 4)
        inflow.feed(b"abcdef")
        assert first.result() == b"abcd"
        rest = reader.submit(inflow.read)
        inflow.feed(b"gh")
        inflow.finish()
        assert rest.result() == b"efgh"
    assert inflow.read(4) == b""


def test_the_announced_length_is_known_before_the_bytes() -> None:
    inflow = Inflow(length=100, patience_seconds=10)
    assert inflow.seek(0, os.SEEK_END) == 100
    inflow.feed(b"x" * 60)
    inflow.finish()
    assert inflow.seek(0, os.SEEK_END) == 60
    assert inflow.seek(-10, os.SEEK_CUR) == 50
    assert len(inflow.read(100)) == 10


def test_a_body_that_comes_to_a_halt_counts_as_cut_short() -> None:
    inflow = Inflow(length=100, patience_seconds=0.05)
    inflow.feed(b"abc")
    assert inflow.read(3) == b"abc"
    assert inflow.read(3) == b""


@pytest.mark.parametrize("body", [counting(60, "webm", "libvpx"), bikes()], ids=["webm", "mp4"])
def test_a_clip_read_while_it_arrives_gives_the_frames_of_the_whole_file(body: bytes) -> None:
    inflow = Inflow(length=len(body), patience_seconds=10)
    sampling = Sampling(fps=2)
    with ThreadPoolExecutor(1) as reader:
        found = reader.submit(lambda: list(Clip(inflow, sampling, ClipLimits())))
        for start in range(0, len(body), 5000):
            inflow.feed(body[start : start + 5000])
        inflow.finish()
    whole = list(Clip(BytesIO(body), sampling, ClipLimits()))
    assert [one.seconds for one in found.result()] == [one.seconds for one in whole]
