"""Animated PNGs: read chunk by chunk and composed as the PNG specification says, over white, at their times."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import (
    BrokenImageError,
    BrokenVideoError,
    TooManyFramesError,
    TooManyPixelsError,
    UnsupportedVideoError,
    VideoError,
)
from service.video.animation import AnimationFile
from service.video.apng import read_apng
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.animations import HEIGHT, WIDTH, Part, composed, parts
from tests.pngs import GRAY, GRAY_ALPHA, PALETTE, RGB, RGB_ALPHA, SIGNATURE, chunk, header, stream


def encoded(frames: list[Part], *, hidden: bool = False) -> bytes:
    """Return the file; `hidden`: with a default image that is no frame of it."""
    number = 0
    body = SIGNATURE + header((WIDTH, HEIGHT), 8, RGB_ALPHA)
    body += chunk(b"acTL", struct.pack(">II", len(frames), 0))
    if hidden:
        body += chunk(b"IDAT", stream([bytes(4 * WIDTH)] * HEIGHT))
    for place, one in enumerate(frames):
        height, width = one.pixels.shape[:2]
        control = struct.pack(
            ">IIIIIHHBB", number, width, height, one.left, one.top, one.delay, 100, one.dispose, one.blend
        )  # fmt: skip
        body += chunk(b"fcTL", control)
        number += 1
        data = stream([row.tobytes() for row in one.pixels])
        if place or hidden:
            body += chunk(b"fdAT", struct.pack(">I", number) + data)
            number += 1
        else:
            body += chunk(b"IDAT", data)
    return body + chunk(b"IEND")


@pytest.mark.parametrize("hidden", [False, True], ids=["", "hidden default image"])
@pytest.mark.parametrize("blend", [0, 1], ids=["source", "over"])
@pytest.mark.parametrize("dispose", [0, 1, 2], ids=["none", "background", "previous"])
def test_frames_are_composed_as_the_specification_says(
    dispose: int,
    blend: int,
    hidden: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    frames = parts(dispose, blend, seed=dispose)
    shown = composed(frames)
    body = encoded(frames, hidden=hidden)
    for sampling, numbers in (
        (Sampling(every_n=1), range(6)),
        (Sampling(every_n=2), (0, 2, 4)),
        (Sampling(count=100), range(6)),
    ):
        clip = open_clip(BytesIO(body), sampling, VideoLimits())
        found = list(clip)
        assert [frame.number for frame in found] == list(numbers)
        assert (clip.ended, clip.info.container) == ("complete", "apng")
        for frame in found:
            np.testing.assert_allclose(np.asarray(frame.image()), shown[frame.number], atol=3)


def test_each_frame_has_the_time_that_the_ones_before_it_take() -> None:
    clip = open_clip(BytesIO(encoded(parts(0, 0, seed=1))), Sampling(every_n=1), VideoLimits())
    assert [frame.seconds for frame in clip] == pytest.approx([0, 0.1, 0.3, 0.6, 1.0, 1.5])


def test_a_cut_one_is_truncated_or_refused_and_never_complete() -> None:
    body = encoded(parts(0, 1, seed=2))
    for cut in range(100, len(body) - 1, 41):
        clip = open_clip(BytesIO(body[:cut]), Sampling(every_n=1), VideoLimits())
        try:
            list(clip)
        except VideoError as error:
            assert (error.status, cut < 1800) == (422, True), "the first frame takes 1,700 bytes"
        else:
            assert clip.ended == "truncated"


def test_it_is_bounded_before_it_is_decoded() -> None:
    body = encoded(parts(0, 0, seed=1))
    with pytest.raises(TooManyPixelsError):
        open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits(max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(TooManyFramesError, match="6 frames would be sampled"):
        open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits(max_frames=5))


def test_a_still_png_is_an_image_whatever_comes_before_its_pixels() -> None:
    pixels = chunk(b"IDAT", stream([bytes(4 * WIDTH)] * HEIGHT))
    start = SIGNATURE + header((WIDTH, HEIGHT), 8, RGB_ALPHA)
    text = chunk(b"tEXt", b"Title\0acTL" + bytes(5000))
    for body in (start + text + pixels, start + text + pixels + chunk(b"acTL", bytes(8)), start):
        with pytest.raises(UnsupportedVideoError, match="PNG image"):
            open_clip(BytesIO(body + chunk(b"IEND")), Sampling(every_n=1), VideoLimits())


def test_a_side_of_a_million_pixels_is_read() -> None:
    control = struct.pack(">IIIIIHHBB", 0, 1, 1_000_000, 0, 0, 1, 10, 0, 0)
    body = (
        SIGNATURE + header((1, 1_000_000), 8, RGB_ALPHA) + chunk(b"acTL", bytes([0, 0, 0, 1] * 2))
    )
    body += chunk(b"fcTL", control) + chunk(b"IDAT", stream([b"\xc8\0\0\xff"] * 1_000_000))
    (frame,) = open_clip(
        BytesIO(body + chunk(b"IEND")), Sampling(count=1), VideoLimits(max_pixels=1_000_000)
    )
    assert frame.image().size == (1, 1_000_000)
    assert frame.image().getpixel((0, 999_999)) == (200, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_any_frames_in_any_order_are_composed_as_the_specification_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = bool(seed % 2)
    frames = []
    for number in range(6):
        covers = rng.random() < 0.3 or (not number and not hidden)
        width, height = (WIDTH, HEIGHT) if covers else (8, 6)
        left, top = (0, 0) if covers else (int(rng.integers(16)), int(rng.integers(10)))
        pixels = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
        pixels[..., 3] = rng.choice([0, 100, 255], (height, width))
        frames.append(Part(pixels, left, top, 10, int(rng.integers(3)), int(rng.integers(2))))
    body = encoded(frames, hidden=hidden)
    clip = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    found = list(clip)
    assert (len(found), clip.ended, clip.detail) == (6, "complete", "")
    for frame, shown in zip(found, composed(frames), strict=True):
        np.testing.assert_allclose(np.asarray(frame.image()), shown, atol=4)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dispose", [1, 2])
def test_areas_without_a_frame_are_white_in_every_kind_of_pixels(
    dispose: int, channels: int, depth: int
) -> None:
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    sample = 40 if depth == 8 else 40 * 257
    opaque = [sample] * (channels - 1 + channels % 2) + [2**depth - 1] * (1 - channels % 2)
    pixel = b"".join(value.to_bytes(depth // 8, "big") for value in opaque)
    body = SIGNATURE + header((8, 8), depth, kind) + chunk(b"acTL", bytes([0, 0, 0, 2] * 2))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, dispose, 0))
    body += chunk(b"IDAT", stream([pixel * 8] * 8))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 2, 2, 3, 3, 1, 10, 1, 1))
    body += chunk(b"fdAT", struct.pack(">I", 2) + stream([pixel * 2] * 2)) + chunk(b"IEND")
    first, second = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    expected = np.full((8, 8, 3), 255)
    expected[3:5, 3:5] = 40
    np.testing.assert_array_equal(np.asarray(first.image()), 40)
    np.testing.assert_array_equal(np.asarray(second.image()), expected)


@pytest.mark.parametrize(("depth", "kind"), [(8, 0), (16, 0), (4, 0), (8, 2), (16, 2)])
def test_the_transparent_color_of_a_frame_shows_what_is_below(depth: int, kind: int) -> None:
    channels = 3 if kind == 2 else 1
    clear, below = 3, 2**depth - 1 if depth < 8 else 7 * 2 ** (depth - 8)

    def rows(*samples: int) -> bytes:
        bits = "".join(f"{sample:0{depth}b}" * channels for sample in samples)
        return stream([int(bits, 2).to_bytes(len(bits) // 8, "big")])

    body = SIGNATURE + header((2, 1), depth, kind)
    body += chunk(b"tRNS", struct.pack(">H", clear) * channels)
    body += chunk(b"acTL", bytes([0, 0, 0, 2] * 2))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2, 1, 0, 0, 1, 10, 0, 0))
    body += chunk(b"IDAT", rows(below, below))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 2, 1, 0, 0, 1, 10, 0, 1))
    body += chunk(b"fdAT", struct.pack(">I", 2) + rows(clear, 0)) + chunk(b"IEND")
    _, second = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    shown = 255 if depth < 8 else 7
    assert np.asarray(second.image()).tolist() == [[[shown] * 3, [0] * 3]]


def test_the_transparent_colors_of_a_palette_show_what_is_below() -> None:
    body = SIGNATURE + header((2, 1), 8, 3) + chunk(b"PLTE", bytes([9, 9, 9, 200, 0, 0]))
    body += chunk(b"tRNS", b"\xff\0") + chunk(b"acTL", bytes([0, 0, 0, 2] * 2))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2, 1, 0, 0, 1, 10, 0, 0))
    body += chunk(b"IDAT", stream([b"\0\1"]))
    body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 2, 1, 0, 0, 1, 10, 0, 1))
    body += chunk(b"fdAT", struct.pack(">I", 2) + stream([b"\1\0"])) + chunk(b"IEND")
    first, second = open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
    assert np.asarray(first.image()).tolist() == [[[9] * 3, [255] * 3]]
    assert np.asarray(second.image()).tolist() == [[[9] * 3, [9] * 3]]


def control(  # the fields of the chunk
    *,
    width: int = 2,
    left: int = 0,
    delay: tuple[int, int] = (1, 10),
    dispose: int = 0,
    blend: int = 0,
    number: int = 0,
) -> bytes:
    """Return the frame control (11.3.6.2) of a frame of one row."""
    return chunk(b"fcTL", struct.pack(">5I2H2B", number, width, 1, left, 0, *delay, dispose, blend))


def still(level: int, width: int = 2, *, damaged: bool = False) -> bytes:
    return chunk(b"IDAT", stream([bytes([level] * width)]), damaged=damaged)


def later(level: int, width: int = 2) -> bytes:
    return chunk(b"fdAT", struct.pack(">I", 7) + stream([bytes([level] * width)]))


START = SIGNATURE + header((2, 1), 8, GRAY) + chunk(b"acTL", bytes(8))
END = chunk(b"IEND")


def levels(file: AnimationFile) -> list[int]:
    """Return the gray of each frame's first pixel."""
    found = []
    for part in file.parts:
        pixel = part.read().convert("RGB").getpixel((0, 0))
        assert isinstance(pixel, tuple)
        found.append(int(pixel[0]))
    return found


def test_what_the_chunks_say_is_known_before_a_frame_is_decoded() -> None:
    file = read_apng(
        START
        + control(delay=(1, 4), blend=1)
        + still(10)
        + control(width=1, left=1, delay=(3, 2), dispose=1)
        + later(20, 1)
        + control(dispose=2)
        + later(30)
        + END
    )
    assert (file.form, file.width, file.height, file.is_whole) == ("apng", 2, 1, True)
    said = [(part.seconds, part.box, part.blends, part.disposal) for part in file.parts]
    assert said == [
        (0.0, (0, 0, 2, 1), True, "keep"),
        (0.25, (1, 0, 2, 1), False, "clear"),
        (1.75, (0, 0, 2, 1), False, "restore"),
    ]
    assert file.seconds == pytest.approx(1.85)
    assert levels(file) == [10, 20, 30]
    assert [part.read().size for part in file.parts] == [(2, 1), (1, 1), (2, 1)]


# 11.3.6.2: a denominator of 0 stands for 100. FFmpeg's apngdec shows a frame without a delay for 1/15 s.
@pytest.mark.parametrize(
    ("delay", "seconds"),
    [((1, 10), 0.1), ((7, 0), 0.07), ((65535, 1), 65535), ((1, 65535), 1 / 65535), ((0, 10), 1 / 15), ((0, 0), 1 / 15)],
)  # fmt: skip
def test_a_delay_is_a_fraction_of_seconds(delay: tuple[int, int], seconds: float) -> None:
    file = read_apng(START + control(delay=delay) + still(1) + control() + later(2) + END)
    assert [part.seconds for part in file.parts] == pytest.approx([0, seconds])
    assert file.seconds == pytest.approx(seconds + 0.1)


def test_the_first_frame_can_not_restore_what_was_before_it() -> None:
    file = read_apng(START + control(dispose=2) + still(1) + control(dispose=2) + later(2) + END)
    assert [part.disposal for part in file.parts] == ["clear", "restore"]


def test_a_frame_without_pixels_is_none_and_takes_no_time() -> None:
    file = read_apng(
        START + control() + still(1) + control(delay=(9, 1)) + control() + later(2) + END
    )
    assert [part.seconds for part in file.parts] == pytest.approx([0, 0.1])
    assert levels(file) == [1, 2]


def test_pixels_before_the_first_frame_are_not_shown() -> None:
    assert levels(read_apng(START + still(9) + control() + later(2) + END)) == [2]
    assert levels(read_apng(START + later(9) + control() + still(1) + END)) == [1]


def test_the_pixels_of_a_later_frame_are_not_those_of_the_image() -> None:
    file = read_apng(START + control() + still(1) + control() + still(9) + later(2) + END)
    assert levels(file) == [1, 2]


def test_the_pixels_of_a_frame_may_be_in_several_chunks() -> None:
    pixels = stream([bytes([5, 5])])
    split = [chunk(b"IDAT", pixels[:3]), chunk(b"IDAT", b""), chunk(b"IDAT", pixels[3:])]
    parts = [chunk(b"fdAT", bytes(4) + piece) for piece in (pixels[:6], pixels[6:])]
    file = read_apng(START + control() + b"".join(split) + control() + b"".join(parts) + END)
    assert levels(file) == [5, 5]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        SIGNATURE,
        SIGNATURE + header((2, 1), 8, GRAY)[:-1],
        SIGNATURE + chunk(b"IHDR", header((2, 1), 8, GRAY)[8:-4], damaged=True) + END,
        SIGNATURE + chunk(b"IHDR", header((2, 1), 8, GRAY)[8:-5]) + END,
        SIGNATURE + chunk(b"acTL", bytes(8)) + header((2, 1), 8, GRAY) + END,
        SIGNATURE + b"\0\0\0\x0d1234" + bytes(20),
    ],
    ids=["nothing", "signature", "cut", "checksum", "short", "late", "no chunk"],
)
def test_a_file_without_a_whole_header_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenVideoError, match="header can not be read"):
        read_apng(body)


@pytest.mark.parametrize(
    "wrong",
    [
        control(dispose=3),
        control(width=3),
        control(width=2, left=1),
        control(width=0),
        chunk(b"fcTL", control()[8:-4], damaged=True),
        chunk(b"fcTL", control()[8:-5]),
        b"\0\0\0\0" + b"f\0AT" + bytes(4),
    ],
    ids=["disposal", "wide", "right", "nothing", "checksum", "short", "no chunk"],
)
def test_nothing_is_read_behind_damage(wrong: bytes) -> None:
    file = read_apng(START + control() + still(1) + wrong + later(2) + control() + later(3) + END)
    assert (levels(file), file.is_whole) == ([1], False)


def test_nothing_is_read_behind_the_end() -> None:
    file = read_apng(START + control() + still(1) + END + control() + later(2) + END)
    assert (levels(file), file.is_whole) == ([1], True)
    assert not read_apng(START + control() + still(1)).is_whole


def test_a_damaged_frame_can_not_be_read_and_the_others_can() -> None:
    pixels = bytearray(stream([bytes([1, 1])]))
    pixels[-1] ^= 1  # of the checksum of zlib
    broken = chunk(b"IDAT", bytes(pixels), damaged=True)
    file = read_apng(START + control() + broken + control() + later(2) + END)
    first, second = file.parts
    with pytest.raises(BrokenImageError):
        first.read()
    assert second.read().getpixel((0, 0)) == (2, 2, 2)


def test_a_chunk_that_lacks_only_its_checksum_has_its_pixels() -> None:
    body = START + control() + still(8)
    for cut in range(1, 5):
        assert levels(read_apng(body[:-cut])) == [8]
    (part,) = read_apng(body[:-12]).parts
    with pytest.raises(BrokenImageError):
        part.read()


def test_colors_count_only_before_the_pixels() -> None:
    start = SIGNATURE + header((2, 1), 8, PALETTE) + chunk(b"PLTE", bytes([1, 2, 3, 200, 0, 0]))
    frames = control() + still(1) + chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\0\0") + control()
    first, second = read_apng(start + frames + later(0) + END).parts
    assert (first.read().mode, second.read().mode) == ("RGB", "RGB")
    assert (first.read().getpixel((0, 0)), second.read().getpixel((0, 0))) == (
        (200, 0, 0),
        (1, 2, 3),
    )
    clear = start + chunk(b"tRNS", b"\x07") + frames + later(0) + END
    first, second = read_apng(clear).parts
    assert second.read().getpixel((0, 0)) == (1, 2, 3, 7)
    assert first.read().getpixel((0, 0)) == (200, 0, 0, 255)


def test_transparency_with_a_wrong_checksum_does_not_count() -> None:
    body = START + chunk(b"tRNS", b"\0\x08", damaged=True) + control() + still(8) + END
    (part,) = read_apng(body).parts
    assert part.read().mode == "RGB"


def test_pixels_behind_those_of_an_image_before_all_frames_have_the_colors_before_it() -> None:
    start = SIGNATURE + header((2, 1), 8, PALETTE) + chunk(b"PLTE", bytes([1, 2, 3, 200, 0, 0]))
    (part,) = read_apng(
        start + still(0) + chunk(b"PLTE", bytes(6)) + control() + later(1) + END
    ).parts
    assert part.read().getpixel((0, 0)) == (200, 0, 0)


# Table 8 and section 13.12: of 16 bits, the high byte; alpha is not composited here.
@pytest.mark.parametrize(
    ("depth", "color", "clear", "samples", "pixel"),
    [
        (8, GRAY, None, (9,), (9, 9, 9)),
        (8, GRAY, (9,), (9,), (9, 9, 9, 0)),
        (8, GRAY, (9,), (8,), (8, 8, 8, 255)),
        (8, GRAY_ALPHA, None, (9, 100), (9, 9, 9, 100)),
        (8, RGB, None, (1, 2, 3), (1, 2, 3)),
        (8, RGB, (1, 2, 3), (1, 2, 3), (1, 2, 3, 0)),
        (8, RGB_ALPHA, None, (1, 2, 3, 4), (1, 2, 3, 4)),
        (16, GRAY, None, (0x1234,), (0x12, 0x12, 0x12)),
        (16, GRAY, (0x1234,), (0x1234,), (0x12, 0x12, 0x12, 0)),
        (16, GRAY, (0x1234,), (0x1235,), (0x12, 0x12, 0x12, 255)),
        (16, GRAY_ALPHA, None, (0x1234, 0x5678), (0x12, 0x12, 0x12, 0x56)),
        (16, RGB, None, (0x1234, 0x5678, 0x9ABC), (0x12, 0x56, 0x9A)),
        (16, RGB, (0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABC), (0x12, 0x56, 0x9A, 0)),
        (16, RGB, (0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABD), (0x12, 0x56, 0x9A, 255)),
        (16, RGB_ALPHA, None, (0x1234, 0x5678, 0x9ABC, 0xDEF0), (0x12, 0x56, 0x9A, 0xDE)),
    ],
)  # fmt: skip
def test_a_frame_of_each_kind_has_its_color_and_its_alpha(
    depth: int,
    color: int,
    clear: tuple[int, ...] | None,
    samples: tuple[int, ...],
    pixel: tuple[int, ...],
) -> None:
    body = SIGNATURE + header((2, 1), depth, color) + chunk(b"acTL", bytes(8))
    if clear is not None:
        body += chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    row = b"".join(sample.to_bytes(depth // 8, "big") for sample in samples) * 2
    (part,) = read_apng(body + control() + chunk(b"IDAT", stream([row])) + END).parts
    image = part.read()
    assert (image.mode, image.size) == ("RGB" if len(pixel) == 3 else "RGBA", (2, 1))
    assert image.getpixel((1, 0)) == pixel


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_what_pillow_writes_is_read_as_pillow_reads_it(mode: str) -> None:
    rng = np.random.default_rng(1)
    images = [
        Image.fromarray(rng.integers(0, 256, (6, 8, 4), np.uint8)).convert(mode) for _ in range(4)
    ]
    body = BytesIO()
    images[0].save(
        body, "PNG", save_all=True, append_images=images[1:], duration=[100, 200, 300, 400]
    )
    file = read_apng(body.getvalue())
    assert [part.seconds for part in file.parts] == pytest.approx([0, 0.1, 0.3, 0.6])
    assert file.seconds == pytest.approx(1.0)
    assert file.is_whole
    clip = open_clip(BytesIO(body.getvalue()), Sampling(every_n=1), VideoLimits())
    with Image.open(BytesIO(body.getvalue())) as plain:
        for number, frame in enumerate(clip):
            plain.seek(number)
            shown = plain.convert("RGBA")
            white = Image.new("RGBA", shown.size, "white")
            white.alpha_composite(shown)
            np.testing.assert_allclose(
                np.asarray(frame.image()), np.asarray(white)[..., :3], atol=3
            )
