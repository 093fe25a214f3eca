"""An AVI's metadata is counted before FFmpeg compares each item with all others: 100,000 in 1 MB took minutes."""

import struct
from io import BytesIO

import pytest

from service.errors import BrokenVideoError
from service.video.checked import CheckedSource
from service.video.chunks import MOST_ITEMS, ChunkCount
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import counting


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def items(count: int) -> bytes:
    names = (struct.pack("<I", 0x20202020 + 257 * number) for number in range(count))
    return chunk(b"LIST", b"INFO" + b"".join(chunk(name, b"a") for name in names))


@pytest.mark.parametrize("piece", [5, 1 << 15])
def test_so_many_items_are_read_and_no_more(piece: int) -> None:
    def read(body: bytes) -> None:
        source = BytesIO(body)
        checked = CheckedSource(source, ChunkCount(source))
        while checked.read(piece):
            pass

    read(bytes(20) + items(MOST_ITEMS))
    read(items(1) + b"INFO" * MOST_ITEMS)
    with pytest.raises(BrokenVideoError, match="Send it without metadata"):
        read(bytes(20) + items(MOST_ITEMS + 1))
    with pytest.raises(BrokenVideoError):
        read(items(MOST_ITEMS) + items(1))
    read(items(0) * MOST_ITEMS)
    with pytest.raises(BrokenVideoError, match="Send it without metadata"):
        read(items(0) * (MOST_ITEMS + 1))


@pytest.mark.parametrize("count", [3, 100_000])
def test_an_avi_with_ever_more_items_is_refused(count: int) -> None:
    body = counting(3, "avi", "mpeg4")
    at = body.index(b"movi") - 8
    longer = body[12:at] + items(count) + body[at:]
    avi = b"RIFF" + struct.pack("<I", 4 + len(longer)) + b"AVI " + longer

    def read() -> int:
        return len(list(open_clip(BytesIO(avi), Sampling(every_n=1), VideoLimits())))

    if count == 3:
        assert read() == 3
    else:
        with pytest.raises(BrokenVideoError, match="Send it without metadata"):
            read()
