"""What the bits of an MPEG-4 part 2 packet say; the bytes are written by hand from ISO/IEC 14496-2."""

from io import BytesIO

import av
import pytest
from av.video.frame import PictureType

from service.video.coded import Coded
from service.video.mpeg4 import Mpeg4
from tests.clips import encode_clip, ramp


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
    assert Mpeg4(layer)(data) == coded
    assert Mpeg4(b"")(layer + data) == coded


def test_an_mpeg4_packet_without_a_layer_says_nothing() -> None:
    assert Mpeg4(b"")(frame(INTRA, 1)) == Coded("none", shows=None)


def test_the_place_of_a_packed_mpeg4_frame_is_the_next_empty_packet() -> None:
    describe = Mpeg4(LAYER)
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


def test_a_place_is_kept_for_each_packed_frame() -> None:
    describe = Mpeg4(LAYER)
    packed = frame(PREDICTED, 1) + frame(BOTH, 1)
    assert [describe(packed).shows, describe(packed).shows] == [True, True]
    assert [describe(frame(PREDICTED, 0)).shows for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("first", "second"), [(PREDICTED, BOTH), (BOTH, PREDICTED)])
def test_either_of_two_packed_frames_makes_the_packet_bidirectional(
    first: str, second: str
) -> None:
    assert Mpeg4(LAYER)(frame(first, 1) + frame(second, 1)).is_bidirectional
    assert not Mpeg4(LAYER)(frame(PREDICTED, 1) + frame(PREDICTED, 1)).is_bidirectional


def test_two_frames_of_which_none_is_coded_are_one_gap() -> None:
    describe = Mpeg4(LAYER)
    assert describe(frame(PREDICTED, 0) + frame(PREDICTED, 0)).shows is False
    assert describe(frame(PREDICTED, 1) + frame(PREDICTED, 0)) == Coded("none")
    assert describe(frame(PREDICTED, 0)).shows is False


# 6.3.3: the time has as many bits as the numbers from 0 to the resolution less one, and at least one.
@pytest.mark.parametrize(
    ("resolution", "bits"),
    [(1, 1), (2, 1), (3, 2), (24, 5), (32, 5), (33, 6), (30000, 15), (32768, 15), (65535, 16)],
)
def test_the_bits_of_a_frames_time_are_those_of_the_resolution(resolution: int, bits: int) -> None:
    layer = b"\0\0\x01\x20" + binary(f"0 00000001 0 0001 0 00 1 {resolution:016b} 1 0")
    for coded in (0, 1):
        start = b"\0\0\x01\xb6" + binary(f"01 0 1 {'10' * bits:.{bits}} 1 {coded}")
        assert Mpeg4(layer)(start).shows is bool(coded)


def test_a_resolution_of_zero_says_nothing() -> None:
    layer = b"\0\0\x01\x20" + binary("0 00000001 0 0001 0 00 1" + "0" * 16 + "1 0")
    assert Mpeg4(layer)(frame(INTRA, 1)) == Coded("none", shows=None)


@pytest.mark.parametrize(
    "fields",
    [
        "0 00000001 0 1110 0 00 1 0000000000011001 1 0",
        "0 00000001 0 1111 00000001 00000001 0 00 1 0000000000011001 1 0",
        "0 00000001 1 0001 001 0001 0 00 1 0000000000011001 1 0",
        "0 00000001 0 0001 1 01 1 0 00 1 0000000000011001 1 0",
        "0 00000001 1 0010 001 0001 0 11 0000 1 0000000000011001 1 0",
        "0 00000001 1 0001 001 0001 0 11 1 0000000000011001 1 0",
        "0 00000001 0 0001 0 11 1 0000000000011001 1 0",
        "0 00000001 1 0010 001 0001 0 10 1 0000000000011001 1 0",
    ],
    ids=[
        "ratio", "ratio in full", "version", "parameters", "gray shapes", "gray shapes of version 1",
        "gray shapes without a version", "binary shapes",
    ],
)  # fmt: skip
def test_each_optional_field_of_a_layer_is_skipped(fields: str) -> None:
    layer = b"\0\0\x01\x20" + binary(fields)
    assert Mpeg4(layer)(frame(PREDICTED, 1)).shows
    assert Mpeg4(layer)(frame(PREDICTED, 0)).shows is False


@pytest.mark.parametrize(
    "before", [b"\0\0\x01\xb0\xf5", b"\0\0\x01\xb5\x09\0\0\x01\0", b"\0\0\x01"]
)
def test_the_layer_is_found_behind_other_headers(before: bytes) -> None:
    assert Mpeg4(before + LAYER)(frame(INTRA, 1)) == Coded("open")


@pytest.mark.parametrize("code", [0x1F, 0x30])
def test_another_start_code_is_no_layer(code: int) -> None:
    header = LAYER[:3] + bytes([code]) + LAYER[4:]
    assert Mpeg4(header)(frame(INTRA, 1)) == Coded("none", shows=None)


@pytest.mark.parametrize("size", range(len(LAYER) - 1))
def test_a_layer_that_is_cut_before_its_resolution_says_nothing(size: int) -> None:
    cut = LAYER[:size]
    if size < 7:
        assert Mpeg4(cut)(frame(INTRA, 1)) == Coded("none", shows=None)
    assert Mpeg4(b"\0\0\x01\xb0" + cut)(b"") == Coded("none", shows=None)


def test_a_frame_that_is_cut_before_it_says_whether_it_is_coded_says_nothing() -> None:
    whole = frame(
        PREDICTED, 0
    )  # two bits of type, one of seconds, a mark, five of time, a mark, then the bit
    assert Mpeg4(LAYER)(whole).shows is False
    assert Mpeg4(LAYER)(whole[:-1]).shows is None
    second = b"\0\0\x01\xb6" + binary("01 110 1 00011 1 0")
    assert Mpeg4(LAYER)(second).shows is False
    exact = b"\0\0\x01\xb6" + binary("01 111110 1 00011 1 0")
    assert len(exact) == 6
    assert Mpeg4(LAYER)(exact).shows is False, "its last bit says it"


def test_a_later_layer_replaces_the_first() -> None:
    describe = Mpeg4(LAYER)
    finer = b"\0\0\x01\x20" + binary("0 00000001 0 0001 0 00 1 0111010100110000 1 0")
    start = b"\0\0\x01\xb6" + binary("01 0 1" + "0" * 15 + "1 0")
    assert describe(finer + start).shows is False
    assert describe(start).shows is False


@pytest.mark.parametrize("options", [{}, {"bf": "2"}, {"bf": "2", "g": "4"}], ids=str)
def test_the_types_of_a_stream_are_those_that_ffmpeg_decodes(options: dict[str, str]) -> None:
    body = encode_clip(map(ramp, range(12)), codec="mpeg4", options=options)
    with av.open(BytesIO(body), "r") as container:
        stream = container.streams.video[0]
        describe = Mpeg4(stream.codec_context.extradata or b"")
        coded = {p.pts: describe(bytes(p)) for p in container.demux(stream) if p.size}
    with av.open(BytesIO(body), "r") as container:
        kinds = {
            frame.pts: PictureType(frame.pict_type).name for frame in container.decode(video=0)
        }
    assert {pts: one.is_bidirectional for pts, one in coded.items()} == {
        pts: kind == "B" for pts, kind in kinds.items()
    }
    assert {pts for pts, one in coded.items() if one.entry == "open"} == {
        pts for pts, kind in kinds.items() if kind == "I"
    }
