"""What a Matroska's header holds is counted before FFmpeg keeps it: 2,000 tags in 30 kB took it 6 s, 10,000 minutes."""

from collections.abc import Callable
from io import BytesIO

import pytest

from service.errors import BrokenVideoError
from service.video.checked import CheckedSource
from service.video.elements import (
    MOST_ELEMENTS,
    MOST_INDEX_BYTES,
    MOST_LATE_ENTRIES,
    MOST_TAG_WORK,
    ElementCount,
)
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import counting, element, tag

TAGS, CHAPTERS, CUES = b"\x12\x54\xc3\x67", b"\x10\x43\xa7\x70", b"\x1c\x53\xbb\x6b"
INFORMATION, CLUSTER = b"\x15\x49\xa9\x66", b"\x1f\x43\xb6\x75"
GROUP, VOID = b"\x73\x73", b"\xec\x80"
OPEN = b"\x01" + b"\xff" * 7
MANY = round(MOST_TAG_WORK ** (1 / 3))
ALONE = int((MOST_TAG_WORK / 5) ** 0.5)


def read_whole(body: bytes, piece: int = 1 << 15) -> None:
    source = BytesIO(body)
    checked = CheckedSource(source, ElementCount(source))
    while checked.read(piece):
        pass


def groups(count: int) -> bytes:
    return b"".join(element(GROUP, tag(number)) for number in range(count))


def cue(time: int, before: bytes = b"") -> bytes:
    """Return an entry of the index."""
    return element(b"\xbb", before + element(b"\xb3", time.to_bytes(3)) + element(b"\xb7"))


MADE: dict[str, tuple[Callable[[int], bytes], int]] = {
    "groups": (lambda n: element(TAGS, groups(n)), MANY),
    "groups of a part without a size": (lambda n: TAGS + OPEN + groups(n), MANY),
    "parts": (lambda n: b"".join(element(TAGS, element(GROUP, tag(1))) for _ in range(n)), MANY),
    "tags": (lambda n: element(TAGS, element(GROUP, tag(1) * n)), ALONE),
    "elements": (lambda n: element(INFORMATION, VOID * n), MOST_ELEMENTS - 1),
    "chapters": (
        lambda n: element(CHAPTERS, element(b"\x45\xb9", element(b"\xb6") * n)),
        MOST_ELEMENTS - 2,
    ),
    "index": (lambda n: element(CUES, bytes(n)), MOST_INDEX_BYTES),
    "entries of the index that are out of order": (
        lambda n: element(CUES, b"".join(map(cue, range(n, -1, -1)))),
        MOST_LATE_ENTRIES,
    ),
    "entries in order behind later ones": (
        lambda n: element(CUES, b"".join(map(cue, (5000, *range(n))))),
        MOST_LATE_ENTRIES,
    ),
    "an index behind a later one": (
        lambda n: element(CUES, cue(5000)) + element(CUES, b"".join(map(cue, range(n)))),
        MOST_LATE_ENTRIES,
    ),
    "entries whose time is behind others": (
        lambda n: element(CUES, b"".join(cue(time, VOID * 3) for time in range(n, -1, -1))),
        MOST_LATE_ENTRIES,
    ),
    "a part within a cluster": (
        lambda n: element(CLUSTER, element(INFORMATION, VOID * n)),
        MOST_ELEMENTS - 1,
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_so_many_are_read_and_no_more(name: str) -> None:
    make, most = MADE[name]
    read_whole(make(most))
    with pytest.raises(BrokenVideoError, match="Send it without them"):
        read_whole(make(most + 1))


@pytest.mark.parametrize("piece", [1, 2, 3, 5])
def test_a_part_is_found_wherever_a_piece_ends(piece: int) -> None:
    with pytest.raises(BrokenVideoError):
        read_whole(bytes(7) + element(INFORMATION, VOID * MOST_ELEMENTS), piece)


def test_a_part_that_is_read_again_counts_once() -> None:
    source = BytesIO(element(INFORMATION, VOID * (MOST_ELEMENTS - 1)))
    checked = CheckedSource(source, ElementCount(source))
    for _ in range(3):
        checked.seek(0)
        assert checked.read()


@pytest.mark.parametrize("end", [b"", b"\x01", b"\x00" * 9, b"\x73", GROUP + b"\x00"])
def test_what_is_no_element_ends_a_part(end: bytes) -> None:
    read_whole(TAGS + OPEN + groups(2) + end)


@pytest.mark.parametrize("form", ["webm", "matroska"])
@pytest.mark.parametrize("count", [100, 20_000])
def test_a_video_with_ever_more_tags_is_refused(form: str, count: int) -> None:
    body = counting(3, form, "libvpx")
    at = body.index(CLUSTER)
    body = body[:at] + element(TAGS, groups(count)) + body[at:]

    def read() -> int:
        return len(list(open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())))

    if count == 100:
        assert read() == 3
    else:
        with pytest.raises(BrokenVideoError, match="Send it without them"):
            read()


def test_an_hour_of_key_frames_in_order_is_read() -> None:
    read_whole(element(CUES, b"".join(map(cue, range(60 * 3600)))))
