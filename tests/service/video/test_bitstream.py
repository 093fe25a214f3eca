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


def binary(bits: str) -> bytes:
    """Return bits, written from the first to the last with blanks between fields, as bytes."""
    digits = bits.replace(" ", "")
    padded = digits.ljust(-len(digits) // 8 * -8, "1")
    return int(padded, 2).to_bytes(len(padded) // 8, "big")


LAYER = b"\0\0\x01\x20" + binary("0 00000001 0 0001 0 00 1 0000000000011001 1 0")
"""ISO/IEC 14496-2, section 6.2.3: a rectangular layer of 25 times a second, which five bits count."""
RICH_LAYER = b"\0\0\x01\x2f" + binary(
    "0 00000001 1 0010 001 1111 00000001 00000001 1 01 1 1"
    + "0" * 79
    + " 00 1 0000000000011001 1 0"
)
"""The same with a version, an aspect ratio, and the buffer's parameters."""


def frame(kind: str, coded: int, seconds: str = "0") -> bytes:
    """Return the start of a frame, section 6.2.5: its type, its seconds, 3/25, and whether it is coded."""
    return b"\0\0\x01\xb6" + binary(f"{kind} {seconds} 1 00011 1 {coded}")


INTRA, PREDICTED, BOTH = "00", "01", "10"


@pytest.mark.parametrize(
    ("data", "coded"),
    [
        (frame(INTRA, 1) + bytes(20), Coded("open")),
        (frame(PREDICTED, 1) + bytes(20), Coded("none")),
        (frame(BOTH, 1) + bytes(20), Coded("none", is_bidirectional=True)),
        (frame(BOTH, 1, "110"), Coded("none", is_bidirectional=True)),
        (frame(PREDICTED, 0), Coded("none", shows=False)),
        (frame(PREDICTED, 0, "10"), Coded("none", shows=False)),
        (frame(INTRA, 1) + bytes(9) + frame(BOTH, 1), Coded("none", is_bidirectional=True)),
        (frame(PREDICTED, 1) + frame(BOTH, 1) + frame(BOTH, 1), Coded("none", shows=None)),
        (b"\0\0\x01\xb6", Coded("none", shows=None)),
        (b"", Coded("none", shows=None)),
    ],
    ids=["I", "P", "B", "small B", "gap", "gap of a second", "packed", "three", "cut", "nothing"],
)
@pytest.mark.parametrize("layer", [LAYER, RICH_LAYER], ids=["layer", "rich layer"])
def test_an_mpeg4_packet_says_its_type(data: bytes, coded: Coded, layer: bytes) -> None:
    assert describer("mpeg4", layer)(data) == coded
    assert describer("mpeg4", None)(layer + data) == coded


def test_an_mpeg4_packet_without_a_layer_says_nothing() -> None:
    assert describer("mpeg4", None)(frame(INTRA, 1)) == Coded("none", shows=None)


def test_the_place_of_a_packed_mpeg4_frame_is_the_next_empty_packet() -> None:
    describe = describer("mpeg4", LAYER)
    packed = frame(PREDICTED, 1) + frame(BOTH, 1)
    found = [
        describe(data).shows
        for data in (packed, frame(PREDICTED, 0), frame(PREDICTED, 0), packed, frame(BOTH, 1))
    ]
    assert found == [True, True, False, True, True]
    assert describe(frame(INTRA, 1)) == Coded("none"), (
        "decoding can not begin between two packed ones"
    )
    assert describe(frame(PREDICTED, 0)).shows
    assert describe(frame(INTRA, 1)) == Coded("open")


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
