"""What a packet's bits say. The bytes are written by hand from each format's specification."""

import pytest

from service.video.bitstream import describer, describes_every_packet
from service.video.coded import Coded

AVC = b"\x01\x64\x00\x1f\xff\xe1"
"""The start of an avcC box: units have four bytes of length."""
HVC = b"\x01" + bytes(20) + b"\xff" + bytes(10)
"""The start of an hvcC box: units have four bytes of length."""


def units(*contents: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "big") + one for one in contents)


def marked(*contents: bytes) -> bytes:
    return b"".join(b"\0\0\x01" + one for one in contents)


IDR, SLICE = b"\x65\x88\x84", b"\x41\x9a\x24"
# Supplemental information: a message of text of 300 bytes, then the recovery point with its count as Exp-Golomb code.
TEXT = b"\x05\xff\x2d" + bytes([7]) * 300
AT_ONCE, LATER = b"\x06" + TEXT + b"\x06\x01\xc4\x80", b"\x06\x06\x01\x0c\x80"
ESCAPED = b"\x06\x05\x04\x00\x00\x03\x01\x00\x06\x01\xc4\x80"


@pytest.mark.parametrize(
    ("parts", "entry"),
    [
        ([IDR], "closed"),
        ([b"\x09\xf0", b"\x67\x64", b"\x68\xee", IDR], "closed"),
        ([AT_ONCE, SLICE], "open"),
        ([ESCAPED, SLICE], "open"),
        ([LATER, SLICE], "none"),
        ([SLICE], "none"),
        ([b"\x06\x05\xff"], "none"),
        ([], "none"),
    ],
)
def test_h264_is_entered_at_idr_pictures_and_whole_recovery_points(
    parts: list[bytes], entry: str
) -> None:
    assert describer("h264", AVC)(units(*parts)).entry == entry
    assert describer("h264", None)(marked(*parts)).entry == entry


@pytest.mark.parametrize(
    ("kind", "entry"), [(19, "closed"), (20, "closed"), (21, "open"), (1, "none"), (16, "none")]
)
def test_hevc_is_entered_at_idr_and_cra_pictures(kind: int, entry: str) -> None:
    parts = [b"\x40\x01\x0c", bytes([kind << 1, 1, 0x80])]
    assert describer("hevc", HVC)(units(*parts)).entry == entry
    assert describer("hevc", None)(marked(*parts)).entry == entry


@pytest.mark.parametrize(
    ("first", "coded"),
    [
        (0x10, Coded("closed")),
        (0x11, Coded("none")),
        (0x01, Coded("none", shows=False)),
    ],
)
def test_a_vp8_frame_says_whether_it_is_shown(first: int, coded: Coded) -> None:
    assert describer("vp8", None)(bytes([first]) + bytes(20)) == coded


KEY, INTER, HIDDEN, AGAIN = b"\x82\x49", b"\x86\x00", b"\x84\x00", b"\x88\x00"
"""Frames of VP9's profile 0: shown key, shown, hidden, and a frame shown again."""


@pytest.mark.parametrize(
    ("data", "coded"),
    [
        (KEY, Coded("closed")),
        (INTER, Coded("none")),
        (HIDDEN, Coded("none", shows=False)),
        (AGAIN, Coded("none")),
        (b"\xb1\x00", Coded("closed")),
        (HIDDEN + INTER + b"\xc1\x02\x02\xc1", Coded("none")),
        (HIDDEN + INTER + b"\xc9\x02\x00\x02\x00\xc9", Coded("none")),
        (KEY + INTER + b"\xc1\x02\x02\xc1", Coded("closed", shows=None)),
        (b"", Coded("none", shows=None)),
        (b"\x00\x00", Coded("none", shows=None)),
    ],
)
def test_a_vp9_packet_says_how_many_frames_it_shows(data: bytes, coded: Coded) -> None:
    assert describer("vp9", None)(data) == coded


@pytest.mark.parametrize(
    ("obus", "coded"),
    [
        ([(1, b"\0\0"), (6, b"\x10\0")], Coded("closed")),
        ([(6, b"\x30\0")], Coded("none")),
        ([(6, b"\x20\0")], Coded("none", shows=False)),
        ([(6, b"\x20\0"), (3, b"\x80")], Coded("none")),
        ([(6, b"\x00\0")], Coded("none", shows=False)),
        ([(1, b"\0")], Coded("none", shows=None)),
    ],
)
def test_an_av1_packet_says_whether_it_shows_a_frame(
    obus: list[tuple[int, bytes]], coded: Coded
) -> None:
    data = b"\x12\0" + b"".join(
        bytes([kind << 3 | 2, len(content)]) + content for kind, content in obus
    )
    assert describer("av1", None)(data) == coded


def test_an_mpeg4_packet_is_described_by_the_header_of_its_stream() -> None:
    layer = b"\0\0\x01\x20" + bytes.fromhex("00888065")  # 25 times a second: five bits
    frame = b"\0\0\x01\xb6" + bytes.fromhex("123fff")
    assert describer("mpeg4", layer)(frame) == Coded("open")
    assert describer("mpeg4", None)(frame) == Coded("none", shows=None)


@pytest.mark.parametrize(
    ("bits", "coded"),
    [
        (1, Coded("open")),
        (2, Coded("none")),
        (3, Coded("none", is_bidirectional=True)),
    ],
)
def test_an_mpeg2_picture_says_its_type(bits: int, coded: Coded) -> None:
    data = b"\0\0\x01\xb3" + bytes(8) + b"\0\0\x01\x00" + bytes([0, bits << 3, 0, 0])
    assert describer("mpeg2video", None)(data.replace(bytes(8), b"\x11" * 8, 1)) == coded


def test_other_codecs_are_entered_where_their_container_says_so() -> None:
    assert describer("mjpeg", None)(b"\xff\xd8") == Coded("closed")
    assert not describes_every_packet("mjpeg")
    assert describes_every_packet("vp9")
    assert describes_every_packet("mpeg4")
