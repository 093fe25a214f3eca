"""A file whose last bytes are missing is never called complete; a whole one is, whatever follows it."""

import struct
from io import BytesIO

import pytest

from service.errors import BrokenVideoError, VideoError
from service.video.extent import MOST_STEPS, missing_end
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import HEADER_FIRST, box, encode_clip, ramp

FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
MADE = {
    "mp4": ("mp4", "libx264", {}),
    "mp4, header first": ("mp4", "libx264", HEADER_FIRST),
    "mp4, fragments": ("mp4", "libx264", {"movflags": FRAGMENTS}),
    "mp4, dash": ("mp4", "libx264", {"movflags": f"dash+{FRAGMENTS}"}),
    "mov": ("mov", "mpeg4", {}),
    "matroska": ("matroska", "libx264", {}),
    "matroska, short clusters": ("matroska", "mpeg4", {"cluster_time_limit": "200"}),
    "matroska, live": ("matroska", "libx264", {"live": "1"}),
    "webm": ("webm", "libvpx", {}),
    "webm, live": ("webm", "libvpx-vp9", {"live": "1"}),
    "webm, cues first": ("webm", "libvpx", {"cues_to_front": "1", "reserve_index_space": "200"}),
    "avi": ("avi", "mpeg4", {}),
    "avi, mjpeg": ("avi", "mjpeg", {}),
    "gif": ("gif", "gif", {}),
}

FRAGMENTED = {"mp4, fragments", "mp4, dash"}
"""What follows a fragment may be the first bytes of the next one, which are zeros."""


def made(name: str) -> bytes:
    """Return one second of video: what is missing of it is always less than a second."""
    form, codec, container_options = MADE[name]
    layout = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
    return encode_clip(
        map(ramp, range(10)), form=form, codec=codec, pixel_format=layout,
        options={"g": "4", "bf": "0"} if codec == "libx264" else {}, container_options=container_options,
    )  # fmt: skip


def how_ended(body: bytes) -> str:
    """Return how a video ended, or the code of its error."""
    try:
        clip = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
        list(clip)
    except VideoError as error:
        assert error.status == 422, error
        return error.code
    return clip.ended


@pytest.mark.parametrize("name", MADE)
def test_a_cut_file_is_never_complete(name: str) -> None:
    body = made(name)
    assert how_ended(body) == "complete"
    # The last chunk of an AVI may lack a byte of padding, which nobody misses.
    cuts = {len(body) - missing for missing in (2, 3, 8, 9, 40)}
    cuts |= {len(body) * share // 100 for share in range(10, 100, 3)}
    # Without an index, a file of fragments that ends behind one is whole.
    wrong = {cut for cut in cuts if how_ended(body[:cut]) == "complete"}
    assert not {cut for cut in wrong if body[cut : cut + 8][4:] != b"moof"}


@pytest.mark.parametrize(
    "appended", [bytes(3), bytes(700), b"\0\0\0\x10SEFTabcdefgh"], ids=["3", "700", "a box"]
)
@pytest.mark.parametrize("name", [name for name in MADE if name not in FRAGMENTED])
def test_what_is_appended_to_a_whole_file_is_no_damage(name: str, appended: bytes) -> None:
    assert how_ended(made(name) + appended) == "complete"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(content)) + content + b"\0" * (len(content) % 2)


def indexed(size: int) -> bytes:
    """Return a segment index, ISO/IEC 14496-12, section 8.16.3, of two segments of this size."""
    entry = struct.pack(">III", size, 0, 0)
    return box(b"sidx", struct.pack(">IIIIIHH", 0, 1, 1, 0, 0, 0, 2) + entry * 2)


FTYP, FRAGMENT = box(b"ftyp", b"isom"), box(b"moof") + box(b"mdat", b"12")
LIVE_SEGMENT = bytes.fromhex("1a45dfa380 18538067 01ffffffffffffff")
LIVE_CLUSTER = bytes.fromhex("1f43b675 01ffffffffffffff e78100 a3840102")


@pytest.mark.parametrize(
    ("form", "body", "is_cut"),
    [
        ("mov", FTYP + box(b"mdat", bytes(90)), False),
        ("mov", FTYP + box(b"mdat", bytes(90))[:-1], True),
        ("mov", FTYP + struct.pack(">I4sQ", 1, b"mdat", 20) + bytes(4), False),
        ("mov", FTYP + struct.pack(">I4sQ", 1, b"mdat", 21) + bytes(4), True),
        ("mov", FTYP + struct.pack(">I4s", 0, b"mdat") + bytes(5), False),
        ("mov", FTYP + struct.pack(">I4s", 9000, b"junk") + bytes(5), False),
        ("mov", FTYP + struct.pack(">I4s", 3, b"free") + bytes(5), False),
        ("mov", FTYP + FRAGMENT, False),
        ("mov", FTYP + FRAGMENT + b"\0\0", True),
        ("mov", FTYP + FRAGMENT + b"\0\0\0\x70mo", True),
        ("mov", FTYP + FRAGMENT + b"junk", False),
        ("mov", FTYP + FRAGMENT + b"\0\0\0\x70abc", False),
        ("mov", FTYP + FRAGMENT + b"\n", False),
        ("mov", FTYP + box(b"moof"), True),
        ("mov", FTYP + indexed(len(FRAGMENT)) + FRAGMENT * 2, False),
        ("mov", FTYP + indexed(len(FRAGMENT)) + FRAGMENT, True),
        ("matroska", LIVE_SEGMENT + LIVE_CLUSTER + b"ab", False),
        ("matroska", LIVE_SEGMENT + LIVE_CLUSTER + b"a", True),
        ("matroska", LIVE_SEGMENT + LIVE_CLUSTER + b"ab\xa3", True),
        ("matroska", LIVE_SEGMENT + LIVE_CLUSTER + b"ab" + LIVE_CLUSTER + b"ab", False),
        ("matroska", LIVE_SEGMENT + LIVE_CLUSTER + b"ab" + bytes(99), False),
        ("matroska", bytes.fromhex("1a45dfa380 18538067 84") + b"abcd", False),
        ("matroska", bytes.fromhex("1a45dfa380 18538067 85") + b"abcd", True),
        ("matroska", bytes.fromhex("1a45dfa380 18538067 84") + b"abcdjunk and more", False),
        ("matroska", bytes.fromhex("1a45dfa380 18538067 84") + b"abcd\x1f\x43\xb6\x75\x90", False),
        ("matroska", LIVE_SEGMENT + LIVE_CLUSTER + b"ab" + b"junk and more", False),
        ("avi", chunk(b"RIFF", b"AVI " + chunk(b"idx1", bytes(16))), False),
        ("avi", chunk(b"RIFF", b"AVI " + chunk(b"idx1", bytes(16)))[:-1], True),
        ("avi", chunk(b"RIFF", b"AVI ") + chunk(b"RIFF", b"AVIX" + bytes(40))[:-9], True),
        ("avi", b"RIFF\xff\xff\xff\xffAVI LIST\0\0\0\0movi" + chunk(b"00dc", b"abcde"), False),
        ("avi", b"RIFF\xff\xff\xff\xffAVI LIST\0\0\0\0movi" + chunk(b"00dc", b"abcde")[:-2], True),
        ("avi", b"RIFF\0\0\0\0AVI LIST\0\0\0\0movi" + chunk(b"00dc", b"abcd") + b"00d", True),
        ("apng", bytes(8) + box(b"IHDR", bytes(4))[4:] + b"", True),
    ],
)  # fmt: skip
def test_the_end_that_headers_declare_is_held_against_the_bytes(
    form: str,
    body: bytes,
    is_cut: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    assert bool(missing_end(form, BytesIO(body))) == is_cut


@pytest.mark.parametrize(
    ("form", "body", "header"),
    [
        ("mov", FTYP, box(b"free")),
        ("matroska", LIVE_SEGMENT, b"\xec\x80"),
        ("avi", b"RIFF\0\0\0\0AVI ", chunk(b"JUNK", b"")),
    ],
)
def test_a_file_of_headers_alone_is_left_after_a_bounded_number(
    form: str, body: bytes, header: bytes
) -> None:
    reads: list[int] = []

    class Counting(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reads.append(self.tell())
            return super().read(size)

    missing_end(form, Counting(body + header * 500_000), most_steps=1000)
    assert max(reads[1:]) < 20_000


def test_a_container_without_a_declared_end_says_nothing() -> None:
    assert missing_end("h264", BytesIO(b"abc")) == ""


def test_a_file_of_boxes_alone_is_not_read_several_times() -> None:
    """Each reading of 2.5 million boxes in 20 MB takes a second; each fragment may have some beside it."""
    run = box(b"traf", box(b"tfhd", bytes(7) + b"\1") + box(b"trun", bytes(8)))
    fragment = box(b"moof", box(b"mfhd", bytes(8)) + run) + box(b"free") * 10
    body = made("mp4, fragments") + fragment * (MOST_STEPS // 11 + 1)
    clip = open_clip(BytesIO(body), Sampling(count=2), VideoLimits())
    with pytest.raises(BrokenVideoError, match=f"more than {MOST_STEPS} boxes"):
        list(clip)
    clip.close()
    clip = open_clip(BytesIO(made("mp4") + box(b"free") * 9), Sampling(count=2), VideoLimits())
    assert len(list(clip)) == 2
