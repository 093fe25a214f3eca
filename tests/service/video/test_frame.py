"""A decoded frame as it is displayed: the eight orientations, the color matrix, alpha over white."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.video.format import VideoFormat
from av.video.stream import VideoStream
from PIL import Image

from service.errors import BrokenVideoError
from service.video.frame import Frame, Orientation
from service.video.opening import open_clip
from service.video.reader import VideoInfo, VideoLimits
from service.video.sampling import Sampling
from tests.clips import Pixels

CASES = Path(__file__).parents[2] / "data/cases"


def first(body: bytes, sampling: Sampling | None = None) -> tuple[Image.Image, VideoInfo]:
    clip = open_clip(BytesIO(body), sampling or Sampling(every_n=1), VideoLimits())
    frame = next(iter(clip))
    return frame.image(), clip.info


def corners() -> Pixels:
    """Return 64×48 pixels of gray, with a red, a lime and a blue corner: upper left, upper right, lower right."""
    pixels = np.full((48, 64, 3), 120, np.uint8)
    pixels[:12, :16], pixels[:12, -16:], pixels[-12:, -16:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return pixels


def encoded(
    form: str, codec: str, layout: str, pixels: Pixels, matrix: Sequence[int] | None = None
) -> bytes:
    """Return three frames of the same RGB or RGBA pixels."""
    body = BytesIO()
    with av.open(body, "w", format=form) as container:
        options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
        stream = container.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = layout
        stream.set_display_matrix(matrix)
        frame = av.VideoFrame.from_ndarray(
            pixels, format="rgb24" if pixels.shape[2] == 3 else "rgba"
        )
        for _ in range(3):
            container.mux(stream.encode(frame.reformat(format=layout)))
        container.mux(stream.encode(None))
    return body.getvalue()


class Unconvertible:
    """Stored pixels whose conversion fails."""

    width, height, format = 8, 6, VideoFormat("yuv420p")
    colorspace = color_range = 0

    def __init__(self, error: Exception) -> None:
        self._error = error

    def to_ndarray(self, **_: object) -> object:
        raise self._error


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (av.error.MemoryError(12, "Cannot allocate memory"), MemoryError),
        (MemoryError(), MemoryError),
        (ValueError("no such conversion"), BrokenVideoError),
    ],
)
def test_a_frame_is_not_damaged_where_there_is_no_memory_for_it(
    raised: Exception, expected: type[Exception]
) -> None:
    stored = cast("av.VideoFrame", Unconvertible(raised))
    frame = Frame(0, 0.0, stored, None, Orientation(), 10**6)
    with pytest.raises(expected):
        frame.image()


def name_of(color: tuple[int, ...]) -> str:
    names = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "gray": (120, 120, 120)}
    return min(
        names, key=lambda name: sum(abs(a - b) for a, b in zip(color, names[name], strict=True))
    )


# What ffmpeg 5.1 shows (with its autorotation) for each matrix a, b, c, d: upper left and right, lower left and right.
@pytest.mark.parametrize(
    ("matrix", "rotation", "shown"),
    [
        ((1, 0, 0, 1), 0, "red lime gray blue"),
        ((-1, 0, 0, 1), 0, "lime red blue gray"),
        ((1, 0, 0, -1), 180, "gray blue red lime"),
        ((-1, 0, 0, -1), 180, "blue gray lime red"),
        ((0, 1, 1, 0), 90, "red gray lime blue"),
        ((0, -1, 1, 0), 90, "lime blue red gray"),
        ((0, 1, -1, 0), 270, "gray red blue lime"),
        ((0, -1, -1, 0), 270, "blue lime gray red"),
    ],
)
def test_each_of_the_eight_matrices_is_shown_as_ffmpeg_does(
    matrix: tuple[int, int, int, int], rotation: int, shown: str
) -> None:
    a, b, c, d = (65536 * number for number in matrix)
    body = encoded("mp4", "libx264", "yuv420p", corners(), [a, b, 0, c, d, 0, 0, 0, 1 << 30])
    image, info = first(body)
    assert image.size == ((64, 48) if matrix[0] else (48, 64)) == (info.width, info.height)
    assert info.rotation == rotation
    right, bottom = image.width - 4, image.height - 4
    points = [(3, 3), (right, 3), (3, bottom), (right, bottom)]
    assert " ".join(name_of(np.asarray(image)[y, x].tolist()) for x, y in points) == shown


def test_a_mirrored_file_is_shown_mirrored() -> None:
    image, _ = first((CASES / "mirrored.mp4").read_bytes())
    # ffmpeg 5.1 -pix_fmt rgb24, at three corners.
    for point, color in [
        ((2, 2), (39, 168, 59)),
        ((125, 2), (255, 255, 252)),
        ((2, 93), (19, 19, 19)),
    ]:
        assert image.getpixel(point) == pytest.approx(color, abs=2)


def test_hd_without_flags_is_bt_709() -> None:
    image, _ = first((CASES / "hd-unflagged-709.mp4").read_bytes())
    # ffmpeg 5.1 -vf scale=in_color_matrix=bt709; as BT.601 the red is (217, 40, 43) and the green (48, 189, 62).
    assert image.getpixel((200, 100)) == pytest.approx((199, 39, 40), abs=1)
    assert image.getpixel((640, 100)) == pytest.approx((37, 168, 59), abs=1)


@pytest.mark.parametrize(
    ("lines", "color"),
    [(718, (185.1, 44.7, 39.7)), (720, (197.3, 58.0, 37.6)), (1080, (197.3, 58.0, 37.6))],
)
def test_the_matrix_changes_at_720_lines(lines: int, color: tuple[float, float, float]) -> None:
    # Y'CbCr (90, 105, 190): R = 1.164·74 + 1.596·62 by BT.601 and 1.164·74 + 1.793·62 by BT.709; so too G and B.
    luma, blue, red = (90, 105, 190)
    frame = av.VideoFrame(64, lines, "yuv420p")
    for plane, level in zip(frame.planes, (luma, blue, red), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    body = BytesIO()
    with av.open(body, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, lines, "yuv420p"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    image, _ = first(body.getvalue())
    assert image.getpixel((30, 30)) == pytest.approx(color, abs=2.1)


def half_clear() -> Pixels:
    """Return RGBA: the left half is solid blue, the right half clear, with black below its alpha."""
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[:, :32] = (0, 0, 255, 255)
    return pixels


@pytest.mark.parametrize(
    ("form", "codec", "layout"),
    [
        ("webm", "libvpx", "yuva420p"),
        ("matroska", "libvpx", "yuva420p"),
        ("webm", "libvpx-vp9", "yuva420p"),
        ("matroska", "libvpx-vp9", "yuva420p"),
        ("mov", "prores_ks", "yuva444p10le"),
        ("mov", "qtrle", "argb"),
        ("mov", "png", "rgba"),
        ("matroska", "ffv1", "yuva420p"),
        ("avi", "rawvideo", "bgra"),
        ("avi", "huffyuv", "bgra"),
    ],
)
@pytest.mark.parametrize("sampling", [Sampling(every_n=1), Sampling(count=1)], ids=["n", "count"])
def test_alpha_is_shown_over_white(form: str, codec: str, layout: str, sampling: Sampling) -> None:
    image, _ = first(encoded(form, codec, layout, half_clear()), sampling)
    assert image.getpixel((8, 24)) == pytest.approx((0, 0, 255), abs=6)
    assert image.getpixel((56, 24)) == pytest.approx((255, 255, 255), abs=3)


def test_the_alpha_of_a_vp9_file_is_over_white() -> None:
    image, info = first((CASES / "vp9-alpha.webm").read_bytes())
    assert info.codec == "vp9"
    # ffmpeg 5.1 -c:v libvpx-vp9 -pix_fmt rgba: alpha 0 at the upper right, colors with alpha 255 elsewhere.
    for point, color in [
        ((125, 2), (255, 255, 255)), ((64, 48), (209, 189, 59)), ((44, 58), (50, 69, 200)), ((2, 93), (19, 19, 19)),
    ]:  # fmt: skip
        assert image.getpixel(point) == pytest.approx(color, abs=2)


@pytest.mark.parametrize("sampling", [Sampling(every_n=1), Sampling(count=1), Sampling(fps=2)])
def test_a_palette_stays_whichever_frames_are_wanted(sampling: Sampling) -> None:
    pixels = np.full((48, 64, 3), (200, 30, 90), np.uint8)
    palette = np.zeros((256, 4), np.uint8)
    palette[7] = (255, 200, 30, 90)
    body = BytesIO()
    with av.open(body, "w", format="avi") as container:
        stream = container.add_stream("rawvideo", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        indices: Any = (np.full((48, 64), 7, np.uint8), palette)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(indices, format="pal8")))
        container.mux(stream.encode(None))
    image, _ = first(body.getvalue(), sampling)
    assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("first-small.gif", [((1, 1), (0, 0, 255)), ((20, 13), (255, 255, 255))]),
        ("first-offset.gif", [((2, 2), (255, 255, 255)), ((20, 13), (255, 255, 255))]),
    ],
)
def test_what_a_gifs_first_image_does_not_cover_is_white(
    name: str, points: list[tuple[tuple[int, int], tuple[int, int, int]]]
) -> None:
    image, _ = first((CASES / name).read_bytes())
    assert [(point, image.getpixel(point)) for point, _ in points] == points
