"""What an MP4 announces is counted before FFmpeg keeps it: a few bytes may announce gigabytes."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest

from service.errors import BrokenVideoError, TooManyFramesError
from service.video.boxes import (
    BOXES_PER_RUN,
    FREE_BOXES,
    MOST_BOXES,
    MOST_EDITS,
    MOST_FRAGMENTS,
    MOST_INDEX,
    MOST_INFLATED_BYTES,
    MOST_ITEMS,
    MOST_SAMPLES,
    BoxCount,
)
from service.video.checked import CheckedSource
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import box, counting, encode_clip, ramp, with_samples

TABLE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def full(kind: bytes, *values: int) -> bytes:
    """Return a box with a version, flags and numbers."""
    return box(kind, numbers(0, *values))


def read_whole(body: bytes) -> None:
    CheckedSource(source := BytesIO(body), BoxCount(source)).read()


def track(*boxes: bytes, kind: bytes = b"vide") -> bytes:
    handler = box(b"hdlr", bytes(8) + kind + bytes(13))
    table = box(b"minf", box(b"stbl", b"".join(boxes)))
    return box(b"trak", box(b"mdia", handler + table))


def samples(count: int) -> bytes:
    return full(b"stsz", 1, count)


def run(count: int) -> bytes:
    return box(b"moof", box(b"traf", full(b"trun", count)))


def sound(in_chunk: int, count: int = 1) -> bytes:
    steps = full(b"stts", 1, in_chunk, 1)
    chunks = full(b"stsc", 2, 1, 1, 1, 2, in_chunk, 1) + full(b"stco", count)
    return track(samples(in_chunk), steps, chunks, kind=b"soun")


def in_fragments() -> bytes:
    return encode_clip(
        map(ramp, range(10)), container_options={"movflags": "frag_every_frame+empty_moov"}
    )


def within(kind: bytes, content: bytes) -> bytes:
    return box(b"moov", box(kind, content))


def compressed(header: bytes, announced: int | None = None) -> bytes:
    size = len(header) if announced is None else announced
    return within(b"cmov", box(b"cmvd", numbers(size) + zlib.compress(header)))


def index(count: int, version: int = 0) -> bytes:
    """Return an index of fragments without its entries (ISO/IEC 14496-12, 8.16.3)."""
    times = struct.pack(">QQ" if version else ">II", 0, 0)
    return box(b"sidx", numbers(version << 24, 1, 1000) + times + struct.pack(">HH", 0, count))


MANY = MOST_SAMPLES // 2
ANNOUNCED: dict[str, tuple[Callable[[int], bytes], int]] = {
    "samples of a track": (lambda n: within(b"free", b"") + track(samples(n)), MOST_SAMPLES),
    "samples of two": (lambda n: track(samples(MANY)) + track(samples(n)), MOST_SAMPLES - MANY),
    "of a track and a run": (lambda n: track(samples(MANY)) + run(n), MOST_SAMPLES - MANY),
    "of runs": (lambda n: run(n) * 4, MOST_SAMPLES // 4),
    "of edits": (
        lambda n: track(samples(n)) + box(b"edts", full(b"elst", 1000)),
        MOST_SAMPLES // 1000,
    ),
    "of sound in pieces": (lambda n: sound(1024 * n, 100), MOST_SAMPLES // 100),
    "in a compressed header": (lambda n: compressed(track(samples(n))), MOST_SAMPLES),
    "in a box that is free": (
        lambda n: box(b"free", box(b"mvhd") + track(samples(n))),
        MOST_SAMPLES,
    ),
}


@pytest.mark.parametrize("name", ANNOUNCED)
def test_so_many_samples_may_be_announced_and_no_more(name: str) -> None:
    make, most = ANNOUNCED[name]
    read_whole(make(most))
    with pytest.raises(TooManyFramesError, match=f"more than the {MOST_SAMPLES} that are read"):
        read_whole(make(most + 1))


def test_an_hour_of_plain_sound_is_few_pieces() -> None:
    read_whole(sound(96_000 * 3600))


FRAGMENT = box(b"moof", full(b"mfhd", 1) + box(b"traf", full(b"tfhd", 1) + full(b"trun", 1)))
COUNTED: dict[str, tuple[Callable[[int], bytes], int]] = {
    "boxes": (lambda n: box(b"free") * n, FREE_BOXES),
    "boxes in a header": (lambda n: box(b"moov", box(b"free") * n), FREE_BOXES - 1),
    "boxes of fragments": (
        lambda n: FRAGMENT * 1000 + box(b"free") * n,
        FREE_BOXES + (BOXES_PER_RUN - 5) * 1000,
    ),
    "metadata": (lambda n: within(b"udta", box(b"name") * n), MOST_ITEMS),
    "metadata in a list": (
        lambda n: within(b"meta", bytes(4) + box(b"hdlr") + box(b"ilst", box(b"name") * n)),
        MOST_ITEMS,
    ),
    "keys": (lambda n: within(b"keys", bytes(8) + box(b"mdta") * n), MOST_ITEMS),
    "edits": (lambda n: track(box(b"edts", full(b"elst", n))), MOST_EDITS),
    "an index": (index, MOST_INDEX),
    "an index of long times": (lambda n: index(MOST_INDEX // 2, 1) + index(n), MOST_INDEX // 2),
    "fragments of many tracks": (
        lambda n: track() * 200 + box(b"moof") * n,
        MOST_FRAGMENTS // 200,
    ),
    "tracks behind an index": (
        lambda n: index(MOST_INDEX) + track() * n,
        MOST_FRAGMENTS // MOST_INDEX,
    ),
    "a compressed header": (lambda n: compressed(b"", n), MOST_INFLATED_BYTES),
}


@pytest.mark.parametrize("name", COUNTED)
def test_so_many_of_each_are_read_and_no_more(name: str) -> None:
    make, most = COUNTED[name]
    read_whole(make(most))
    with pytest.raises(BrokenVideoError):
        read_whole(make(most + 1))


def test_an_hour_of_fragments_of_a_frame_each_is_read() -> None:
    whole = FRAGMENT + box(b"mdat", b"a")
    assert MOST_BOXES > 6 * 60 * 3600
    read_whole(whole * 30_000)


@pytest.mark.parametrize("size", [0, 1, 7, 2**31], ids=str)
def test_boxes_of_wrong_sizes_end_the_count(size: int) -> None:
    read_whole(counting(3) + numbers(size) + b"moov" + bytes(40))


def test_a_video_that_announces_too_much_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(TooManyFramesError):
        open_clip(BytesIO(with_samples(MOST_SAMPLES + 1)), Sampling(fps=1), VideoLimits())


def test_a_fragment_that_announces_too_much_is_refused_where_it_is_read() -> None:
    body = in_fragments() + run(MOST_SAMPLES + 1)
    with pytest.raises(TooManyFramesError):
        list(open_clip(BytesIO(body), Sampling(fps=1), VideoLimits()))


def test_a_video_in_fragments_is_read_to_its_end() -> None:
    assert len(list(open_clip(BytesIO(in_fragments()), Sampling(every_n=1), VideoLimits()))) == 10
