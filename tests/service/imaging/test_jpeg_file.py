"""What Pillow sees of a JPEG: the frame and the first scan, and of no other segment a byte."""

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.errors import BrokenImageError, UnsupportedImageError
from service.imaging.announced import read_header
from service.imaging.decode import Limits, open_image, orientation, read_pixels
from service.imaging.jpeg_file import jpeg_head, open_jpeg
from tests.images import encode, photograph
from tests.service.imaging.test_exif import LONG_TEXT, block, turned

PHOTO = Image.open(BytesIO(photograph("coffee"))).resize((75, 50)).convert("RGB")
JPEG = encode(PHOTO, "JPEG")
HEAD_BYTES = 2 + 22 + 14
"""The start, a frame with up to four components, and a scan's header with up to three."""


def segment(code: int, content: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(content) + 2) + content


def with_segments(*added: bytes, body: bytes = JPEG) -> bytes:
    return b"".join((body[:2], *added, body[2:]))


def without_density(body: bytes) -> bytes:
    """Return a JPEG without its APP0, for whose density Pillow looks into EXIF."""
    assert body[2:4] == b"\xff\xe0"
    return body[:2] + body[4 + int.from_bytes(body[4:6]) :]


def in_segments(exif: bytes, size: int = 60_000) -> list[bytes]:
    plain = exif.removeprefix(b"Exif\0\0")
    pieces = [plain[at : at + size] for at in range(0, len(plain), size)]
    return [segment(0xE1, b"Exif\0\0" + piece) for piece in pieces]


def pixels(body: bytes) -> Any:
    return np.asarray(read_pixels(open_image(body, Limits())))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"restart_marker_blocks": 1},
        {"exif": block([turned(6)])},
        {"icc_profile": bytes(200_000), "comment": b"hello", "xmp": b"<x/>"},
        {"subsampling": 0, "quality": 100},
    ],
    ids=["plain", "progressive", "restarts", "turned", "metadata", "full chroma"],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_pixels_are_those_that_pillow_reads_from_the_whole_file(
    mode: str, options: dict[str, Any]
) -> None:
    body = encode(PHOTO.convert(mode), "JPEG", **options)
    with Image.open(BytesIO(body)) as expected:
        assert np.array_equal(
            pixels(body), np.asarray(expected.convert("RGB" if mode == "CMYK" else mode))
        )
    opened, whole = open_image(body, Limits()), Image.open(BytesIO(body))
    whole.draft(None, (PHOTO.width // 4, PHOTO.height // 4))
    assert opened.reduce(4) == 4
    shown = read_pixels(opened)
    assert np.array_equal(np.asarray(shown), np.asarray(whole.convert(shown.mode)))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"icc_profile": bytes(200_000)}])
def test_pillow_sees_the_frame_and_the_scan_alone(options: dict[str, Any]) -> None:
    body = encode(PHOTO, "JPEG", comment=b"hello", exif=block([turned(6)]), **options)
    found = jpeg_head(body)
    assert len(found.head) <= HEAD_BYTES
    assert found.notes["exif"] == block([turned(6)])
    assert found.notes["comment"] == b"hello"
    assert found.notes.get("icc_profile") == options.get("icc_profile")
    with Image.open(BytesIO(body)) as whole:
        assert whole.fp is not None
        assert found.place == whole.fp.tell()
    names = {"exif", "comment", "icc_profile", "progressive", "progression"}
    assert set(open_jpeg(body).info) <= names


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("base", [JPEG, without_density(JPEG)], ids=["density", "no density"])
def test_no_tag_of_exif_is_read_but_the_orientation(base: bytes) -> None:
    """Pillow reads all, and warns of each that is too long: 786 kB took 0.5 s."""
    exif = block([LONG_TEXT] * 60_000 + [turned(6)])
    body = with_segments(*in_segments(exif), body=base)
    assert len(in_segments(exif)) > 10
    assert orientation(open_image(body, Limits())) is Image.Transpose.ROTATE_270
    assert np.array_equal(pixels(body), pixels(JPEG))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "added",
    [
        segment(0xE2, b"MPF\0" + block([LONG_TEXT] * 5000)[6:]),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000),
        segment(0xDB, bytes((0, *range(1, 65))) * 1000),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000)),
        segment(0xFE, bytes(60_000)),
    ],
    ids=["images", "resources", "tables", "profile", "comment"],
)
def test_what_has_thousands_of_parts_does_not_reach_pillow(added: bytes) -> None:
    body = with_segments(*[added] * 20)
    assert jpeg_head(body).head == jpeg_head(JPEG).head
    assert np.array_equal(pixels(body), pixels(JPEG))


@pytest.mark.parametrize("places", [(0, 1, 2), (2, 0, 1), (0, 1), (0, 1, 2, 2)])
def test_the_color_profile_and_the_last_comment_stay_with_the_image(
    places: tuple[int, ...],
) -> None:
    pieces = [
        segment(
            0xE2, b"ICC_PROFILE\0" + bytes((number + 1, 3)) + b"abc"[number : number + 1] * 60_000
        )
        for number in range(3)
    ]
    comments = [segment(0xFE, b"first"), segment(0xFE, b"last")]
    body = with_segments(*(pieces[place] for place in places), *comments)
    with Image.open(BytesIO(body)) as whole:
        found = open_jpeg(body).info
        assert (found.get("icc_profile") is not None) == (sorted(places) == [0, 1, 2])
        assert found.get("icc_profile") == whole.info.get("icc_profile")
        assert found["comment"] == whole.info["comment"] == b"last"
    assert np.array_equal(pixels(body), pixels(JPEG))


@pytest.mark.parametrize("content", [b"ICC_PROFILE\0", b"ICC_PROFILE\0\1", b"ICC_PROFILE\0\1\1"])
def test_a_color_profile_that_is_cut_is_none(content: bytes) -> None:
    assert "icc_profile" not in open_jpeg(with_segments(segment(0xE2, content))).info


def test_a_photograph_with_others_behind_it_is_a_jpeg() -> None:
    stream = BytesIO()
    PHOTO.save(stream, "MPO", save_all=True, append_images=[ImageOps.flip(PHOTO)])
    body = stream.getvalue()
    assert Image.open(BytesIO(body)).format == "MPO"
    assert open_jpeg(body).format == "JPEG"
    assert np.array_equal(pixels(body), pixels(JPEG))


def test_of_a_frame_with_very_many_components_pillow_sees_four() -> None:
    """Pillow makes an object of each of 21,843: 26 MB of such segments are 400."""
    frame = segment(0xC0, struct.pack(">BHHB", 8, 50, 75, 3) + bytes(65_000))
    body = with_segments(frame)
    assert len(jpeg_head(body).head) <= HEAD_BYTES + 22
    assert read_header(body).pixels == PHOTO.width * PHOTO.height
    with pytest.raises(BrokenImageError):
        pixels(body)


@pytest.mark.parametrize(
    "between", [b"\xff", b"\0", b"\xff\0", b"abc\xff\xff\0", b"\xff\xd0", b"\xff\xd9"]
)
def test_what_is_between_segments_is_passed_over(between: bytes) -> None:
    start = 4 + int.from_bytes(JPEG[4:6])
    body = JPEG[:start] + between * 9 + JPEG[start:]
    found = jpeg_head(body)
    assert found.head == jpeg_head(JPEG).head
    with Image.open(BytesIO(body)) as whole:
        assert whole.fp is not None
        assert found.place == whole.fp.tell()
    assert read_header(body).pixels == PHOTO.width * PHOTO.height


def test_a_header_that_is_cut_anywhere_is_refused() -> None:
    place = jpeg_head(JPEG).place
    for size in range(3, place, 7):
        with pytest.raises((BrokenImageError, UnsupportedImageError)):
            pixels(JPEG[:size])


@pytest.mark.parametrize("code", [0x01, 0x02, 0xBF, 0xC8, 0xDE, 0xF0, 0xF7, 0xFD])
def test_a_marker_that_no_decoder_takes_ends_the_search(code: int) -> None:
    body = with_segments(segment(code, bytes(9)))
    assert jpeg_head(body).head == b"\xff\xd8" + bytes((0xFF, code))
    with pytest.raises((BrokenImageError, UnsupportedImageError)):
        open_image(body, Limits())


def test_more_segments_than_any_file_has_are_refused() -> None:
    with pytest.raises(BrokenImageError, match="more than 20000 segments"):
        open_jpeg(with_segments(b"\xff\xd0" * 20_001))
