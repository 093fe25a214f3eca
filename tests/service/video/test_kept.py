"""What the headers of H.264 and HEVC say that a decoder keeps, against what the encoder was told."""

from io import BytesIO

import av
import numpy as np
import pytest

from service.video.bitstream import length_size
from service.video.kept import WORST, Kept, kept_of, kept_of_packet
from tests.clips import encode_clip


def extradata(codec: str, pixel_format: str, form: str = "mp4", **options: str) -> bytes:
    images = [np.zeros((96, 128, 3), np.uint8)] * 3
    body = encode_clip(images, codec=codec, form=form, pixel_format=pixel_format, options=options)
    with av.open(BytesIO(body), "r") as container:
        return container.streams.video[0].codec_context.extradata or b""


@pytest.mark.parametrize(
    ("pixel_format", "pixel_bytes"),
    [
        ("yuv420p", 1.5),
        ("yuv422p", 2),
        ("yuv444p", 3),
        ("yuv420p10le", 3),
        ("yuv422p10le", 4),
        ("yuv444p10le", 6),
        ("gray", 1),
    ],
)
@pytest.mark.parametrize("form", ["mp4", "avi"], ids=["lengths", "marks"])
@pytest.mark.parametrize("told", [(1, 0, 0), (4, 3, 2), (16, 2, 2)])
def test_h264_says_its_references_its_order_and_its_format(
    pixel_format: str, pixel_bytes: float, form: str, told: tuple[int, int, int]
) -> None:
    references, between, reordered = told
    options = f"ref={references}:bframes={between}:b-pyramid=normal:b-adapt=0:level=5.1"
    found = kept_of("h264", extradata("libx264", pixel_format, form, **{"x264-params": options}))
    assert found == Kept(references + reordered + 3, pixel_bytes, says_order=True)


@pytest.mark.parametrize("told", ["nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500", "cqm=jvt"])
def test_h264_with_more_in_its_header_is_read_as_well(told: str) -> None:
    data = extradata("libx264", "yuv420p", **{"x264-params": f"ref=2:bframes=0:{told}"})
    assert kept_of("h264", data) == Kept(5, 1.5, says_order=True)


@pytest.mark.parametrize(
    ("pixel_format", "pixel_bytes"), [("yuv420p", 1.5), ("yuv420p10le", 3), ("yuv444p", 3)]
)
def test_hevc_is_counted_with_sixteen_references_and_the_frames_that_wait(
    pixel_format: str, pixel_bytes: float
) -> None:
    told = "bframes=3:b-pyramid=1:log-level=none"
    found = kept_of("hevc", extradata("libx265", pixel_format, **{"x265-params": told}))
    assert found == Kept(16 + 2 + 3, pixel_bytes, says_order=True)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("cut", [0, 1, 5, 9, 12, 14, 30])
def test_half_a_header_counts_as_the_worst(codec: str, cut: int) -> None:
    options = {"x264-params": "ref=4"} if codec == "h264" else {"x265-params": "log-level=none"}
    whole = extradata("libx264" if codec == "h264" else "libx265", "yuv420p", **options)
    found = kept_of(codec, whole[:cut])
    assert found is not None
    assert found.covers(WORST) or codec == "h264"
    assert not found.says_order


def test_any_bytes_are_read_to_some_end() -> None:
    random = np.random.default_rng(1)
    for _ in range(500):
        data = random.bytes(80)
        for start in (b"\x01", b"\0\0\x01\x67", b"\0\0\x01\x42\x01", b"\x01" * 23):
            for codec in ("h264", "hevc"):
                found = kept_of(codec, start + data)
                assert found is not None
                assert WORST.covers(found)


def test_a_header_in_a_packet_is_found_and_other_units_are_not() -> None:
    data = extradata("libx264", "yuv444p", "avi", **{"x264-params": "ref=2:bframes=0"})
    assert length_size("h264", data) == 0
    assert kept_of_packet("h264", 0, data + b"\0\0\x01\x65" + bytes(90)) == kept_of("h264", data)
    assert kept_of_packet("h264", 0, b"\0\0\x01\x65" + bytes(90)) is None
    assert kept_of_packet("h264", 4, b"\0\0\0\x05\x65" + bytes(4)) is None


def test_other_codecs_have_no_such_header() -> None:
    assert kept_of("mpeg4", b"") is None


@pytest.mark.parametrize(
    ("other", "covered"),
    [(Kept(9, 3), True), (Kept(10, 1.5), False), (Kept(2, 4), False), (Kept(1, 1), True)],
)
def test_what_is_counted_covers_what_takes_no_more(other: Kept, covered: bool) -> None:  # noqa: FBT001  # parameter
    assert Kept(9, 3).covers(other) == covered
