"""GIFs whose images are smaller than the canvas, written by hand: what no image covers is clear, so white."""

import struct
from io import BytesIO

import numpy as np
import pytest

from service.errors import BrokenVideoError, TooManyFramesError, TooManyPixelsError
from service.imaging.decode import Limits, open_image, read_pixels
from service.video.gif import read_gif
from service.video.opening import open_clip
from service.video.reader import MOST_ANIMATION_FRAMES, VideoLimits
from service.video.sampling import Sampling
from tests.clips import Pixels

BLUE, GREEN, RED, WHITE = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)
TABLE = bytes([*RED, *GREEN, *BLUE, 0, 0, 0])
KEEP, CLEAR, RESTORE = 1, 2, 3


def header(table: bytes = TABLE, background: int = 0) -> bytes:
    """Return the header of a GIF of 8×4 pixels with a global table of four colors, or of none."""
    flags = 0x91 if table else 0x11
    return b"GIF89a\x08\0\x04\0" + bytes([flags, background, 0]) + table


def image(
    box: tuple[int, int, int, int], color: int, *, disposal: int = 0, table: bytes = b"", clear: int = -1
) -> bytes:  # fmt: skip
    """Return an image of one color; `box` is left, top, width and height. Each pixel is a code after a clear code."""
    left, top, width, height = box
    control = bytes([0x21, 0xF9, 4, disposal << 2 | (clear >= 0), 10, 0, max(0, clear), 0])
    place = b"\x2c" + b"".join(n.to_bytes(2, "little") for n in box)
    flags = bytes([0x81 if table else 0])
    bits = "".join("001" + f"{color:03b}"[::-1] for _ in range(width * height)) + "101"
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    assert left + width <= 8
    assert top + height <= 4
    assert len(data) < 256
    return control + place + flags + table + b"\x02" + bytes([len(data)]) + data + b"\0"


def shown(*parts: bytes) -> list[Pixels]:
    clip = open_clip(BytesIO(b"".join(parts) + b";"), Sampling(every_n=1), VideoLimits())
    frames = [np.asarray(frame.image()) for frame in clip]
    assert (clip.ended, clip.detail) == ("complete", "")
    return frames


def colors(pixels: Pixels, *points: tuple[int, int]) -> list[tuple[int, ...]]:
    return [tuple(int(level) for level in pixels[y, x]) for x, y in points]


@pytest.mark.parametrize("background", [0, 1, 2])
@pytest.mark.parametrize("table", [b"", TABLE], ids=["global table", "own table"])
def test_around_a_smaller_first_image_the_canvas_is_white(table: bytes, background: int) -> None:
    (first,) = shown(header(background=background), image((0, 0, 4, 2), 2, table=table))
    assert colors(first, (0, 0), (3, 1), (4, 0), (0, 2), (7, 3)) == [
        BLUE,
        BLUE,
        WHITE,
        WHITE,
        WHITE,
    ]
    (first,) = shown(header(background=background), image((4, 2, 4, 2), 1, table=table))
    assert colors(first, (4, 2), (7, 3), (3, 2), (4, 1)) == [GREEN, GREEN, WHITE, WHITE]


def test_a_gif_without_a_global_table_is_white_too() -> None:
    (first,) = shown(header(b""), image((0, 0, 4, 2), 0, table=TABLE))
    assert colors(first, (0, 0), (7, 3)) == [RED, WHITE]


def test_later_images_are_drawn_over_the_first() -> None:
    first, second = shown(header(), image((0, 0, 4, 2), 2, disposal=KEEP), image((2, 1, 4, 2), 1))
    assert colors(first, (2, 1), (5, 2)) == [BLUE, WHITE]
    assert colors(second, (0, 0), (2, 1), (5, 2), (7, 3)) == [BLUE, GREEN, GREEN, WHITE]


def test_a_disposed_area_is_white_and_not_the_background_color() -> None:
    parts = [image((0, 0, 4, 2), 2, disposal=CLEAR), image((6, 3, 2, 1), 1)]
    _, second = shown(header(), *parts)
    assert colors(second, (0, 0), (3, 1), (6, 3)) == [WHITE, WHITE, GREEN]


def test_a_restored_area_has_what_was_there() -> None:
    parts = [
        image((0, 0, 4, 2), 2, disposal=KEEP), image((0, 0, 2, 2), 0, disposal=RESTORE), image((6, 3, 2, 1), 1),
    ]  # fmt: skip
    _, second, third = shown(header(), *parts)
    assert colors(second, (0, 0), (3, 0)) == [RED, BLUE]
    assert colors(third, (0, 0), (6, 3)) == [BLUE, GREEN]


def test_transparent_pixels_of_the_first_image_are_white() -> None:
    (first,) = shown(header(), image((0, 0, 8, 4), 2, clear=2))
    assert colors(first, (0, 0), (7, 3)) == [WHITE, WHITE]


def test_zeros_and_comments_behind_the_trailer_are_no_damage() -> None:
    body = header() + image((0, 0, 8, 4), 2)
    comment = b"\x21\xfe\x03abc\0"
    for end in (b";", b";" + bytes(20), comment + b";"):
        clip = open_clip(BytesIO(body + end), Sampling(every_n=1), VideoLimits())
        assert len(list(clip)) == 1
        assert (clip.ended, clip.detail) == ("complete", "")
    clip = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    assert len(list(clip)) == 1
    assert clip.ended == "truncated"


def screen(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<2H", width, height) + bytes([0x91, 0, 0]) + TABLE


def test_a_first_image_that_exceeds_the_screen_enlarges_it() -> None:
    """As Chromium shows it; an image route does the same."""
    parts = [image((4, 2, 4, 2), 2), image((6, 3, 2, 1), 1)]
    body = screen(6, 3) + b"".join(parts) + b";"
    clip = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    first, second = (np.asarray(frame.image()) for frame in clip)
    assert (clip.info.width, clip.info.height) == (8, 4)
    assert first.shape == second.shape == (4, 8, 3)
    assert colors(first, (3, 2), (4, 2), (7, 3)) == [WHITE, BLUE, BLUE]
    assert colors(second, (6, 3), (5, 3)) == [GREEN, BLUE]
    pixels = read_pixels(open_image(body, Limits())).convert("RGB")
    assert np.array_equal(np.asarray(pixels), first)


def test_a_later_image_that_exceeds_the_screen_is_clipped() -> None:
    parts = [image((0, 0, 2, 2), 2), image((1, 1, 4, 2), 1)]
    body = screen(2, 2) + b"".join(parts) + b";"
    _, second = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    assert colors(np.asarray(second.image()), (0, 0), (1, 1), (1, 0)) == [BLUE, GREEN, BLUE]
    assert second.image().size == (2, 2)


def test_a_canvas_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    body = screen(65_535, 65_535) + image((0, 0, 4, 2), 2) + b";"
    with pytest.raises(TooManyPixelsError, match="65535×65535"):
        open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())


def test_an_end_mark_too_many_between_images_is_no_damage() -> None:
    first, second = shown(header(), image((0, 0, 4, 2), 2), b"\0", image((0, 0, 1, 1), 1))
    assert colors(first, (0, 0)) + colors(second, (0, 0), (1, 0)) == [BLUE, GREEN, BLUE]


@pytest.mark.parametrize("delay", [0, 1])
def test_a_frame_without_a_delay_takes_a_tenth_of_a_second(delay: int) -> None:
    one = bytearray(image((0, 0, 4, 2), 2))
    one[4] = delay
    clip = open_clip(BytesIO(header() + bytes(one) * 3 + b";"), Sampling(every_n=1), VideoLimits())
    assert [frame.seconds for frame in clip] == pytest.approx([0, 0.1, 0.2])


def test_an_image_that_exceeds_the_screen_counts_as_large_as_it_is() -> None:
    large = bytearray(image((0, 0, 2, 2), 1))
    struct.pack_into("<2H", large, large.index(b"\x2c") + 5, 9000, 9000)
    body = screen(2, 2) + image((0, 0, 2, 2), 2) + large + b";"
    with pytest.raises(TooManyPixelsError, match="9000×9000"):
        open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())


COMMENT = b"\x21\xfe"


@pytest.mark.parametrize(
    ("rest", "is_whole"),
    [
        (COMMENT + b"\x01;\0;", True),
        (COMMENT + b"\x01;", False),
        (COMMENT + b"\x01;\0", False),
        (COMMENT, False),
        (b"\x2c\0\0", False),
        (b";comment", True),
        (b"comment;", True),
        (b"comment", False),
    ],
)
def test_a_gif_is_whole_up_to_its_end_mark(
    rest: bytes,
    is_whole: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    assert read_gif(header() + image((0, 0, 1, 1), 2) + rest).is_whole == is_whole


@pytest.mark.parametrize(
    "block",
    [b"\0", COMMENT + b"\0", b"\x2c" + bytes(9) + b"\x02\0"],
    ids=["end marks", "extensions", "images without pixels"],
)
def test_blocks_are_read_up_to_a_number(block: bytes) -> None:
    first = header() + image((0, 0, 1, 1), 2)  # an image and its extension, each with two more
    assert len(read_gif(first + b"\0" * 93 + b";", 100).parts) == 1
    with pytest.raises(BrokenVideoError, match=r"more than 100 blocks\. Encode it again"):
        read_gif(first + block * 94 + b";", 100)


@pytest.mark.parametrize("start", [COMMENT, b"\x2c" + bytes(9) + b"\x02"])
def test_blocks_of_data_count_too(start: bytes) -> None:
    assert read_gif(header() + start + b"\1a" * 97 + b"\0;", 100).is_whole
    with pytest.raises(BrokenVideoError, match="more than 100 blocks"):
        read_gif(header() + start + b"\1a" * 99 + b"\0;", 100)


def test_a_gif_of_hardly_more_than_frames_is_refused_before_their_duration_is_known() -> None:
    least = b"\x2c" + struct.pack("<4H", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    assert (
        len(read_gif(header() + least * MOST_ANIMATION_FRAMES + b";").parts)
        == MOST_ANIMATION_FRAMES
    )
    with pytest.raises(TooManyFramesError, match=f"more than the {MOST_ANIMATION_FRAMES} frames"):
        read_gif(header() + least * (MOST_ANIMATION_FRAMES + 1) + b";")
