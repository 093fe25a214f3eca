import contextlib
import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngInfo

from service.errors import (
    BrokenImageError,
    EmptyImageError,
    ImageError,
    TooManyPixelsError,
    UnsupportedImageError,
)
from service.imaging.decode import (
    Limits,
    OpenedImage,
    open_image,
    orientation,
    read_pixels,
)
from service.imaging.formats import FORMATS
from service.settings import Settings
from tests.images import encode, photograph

LIMITS = Limits(max_pixels=1_000_000)


def color_of(body: bytes) -> tuple[int, int, int]:
    pixels = read_pixels(open_image(body, LIMITS)).convert("RGB")
    r, g, b = np.asarray(pixels).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    return r, g, b


def skip_without_reader(form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


def test_the_formats_are_those_that_the_readme_names() -> None:
    assert FORMATS == ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read(form: str) -> None:
    skip_without_reader(form)
    red, green, blue = color_of(encode(Image.new("RGB", (32, 32), (200, 40, 90)), form))
    assert abs(red - 200) + abs(green - 40) + abs(blue - 90) <= 9


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_of_a_moving_image_the_first_frame_is_used(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue", "lime")]
    body = encode(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    assert color_of(body) == pytest.approx((255, 0, 0), abs=3)


RED, PAPER = [255, 0, 0], [255, 255, 255]


def gif_of(canvas: tuple[int, int], box: tuple[int, int, int, int], clear: int | None) -> bytes:
    """Return a GIF of one red frame; palette color 0 is blue, 1 is red. The box is left, top, width and height."""
    frame = Image.new("P", box[2:], 1)
    frame.putpalette([0, 0, 255, 255, 0, 0])
    body = bytearray(encode(frame, "GIF", **({} if clear is None else {"transparency": clear})))
    place = body.index(b",", 13 + 3 * 2 ** ((body[10] & 7) + 1))
    struct.pack_into("<HH", body, 6, *canvas)
    struct.pack_into("<HH", body, place + 1, *box[:2])
    return bytes(body)


def webp_of(canvas: tuple[int, int], box: tuple[int, int, int, int], clear: int | None) -> bytes:
    """Return an animated WebP of one red frame (RFC 9649); `clear` is the alpha of its background color."""
    frame = encode(Image.new("RGB", box[2:], "red"), "WEBP", lossless=True)[12:]
    sizes = (box[0] // 2, box[1] // 2, box[2] - 1, box[3] - 1, 100)
    placed = b"".join(value.to_bytes(3, "little") for value in sizes) + b"\0" + frame
    size = b"".join((side - 1).to_bytes(3, "little") for side in canvas)
    parts = (
        (b"VP8X", b"\x02\0\0\0" + size),
        (b"ANIM", bytes([255, 0, 0, clear or 0, 0, 0])),
        (b"ANMF", placed),
    )
    chunks = b"".join(kind + struct.pack("<L", len(data)) + data for kind, data in parts)
    return b"RIFF" + struct.pack("<L", len(chunks) + 4) + b"WEBP" + chunks


@pytest.mark.parametrize("clear", [None, 0])
@pytest.mark.parametrize("make", [gif_of, webp_of])
def test_what_a_first_frame_leaves_free_is_white(
    make: Callable[[tuple[int, int], tuple[int, int, int, int], int | None], bytes],
    clear: int | None,
) -> None:
    shown = open_image(make((6, 4), (2, 2, 2, 1), clear), LIMITS)
    assert shown.size == (6, 4)
    expected = [[PAPER] * 6, [PAPER] * 6, [PAPER, PAPER, RED, RED, PAPER, PAPER], [PAPER] * 6]
    assert np.asarray(read_pixels(shown)).tolist() == expected


def test_a_background_color_of_a_webp_is_not_shown_as_in_browsers() -> None:
    pixels = read_pixels(open_image(webp_of((6, 4), (2, 2, 2, 1), 255), LIMITS))
    assert pixels.getpixel((0, 0)) == (255, 255, 255)


def test_a_first_frame_larger_than_its_screen_makes_the_canvas_larger() -> None:
    body = gif_of((3, 2), (1, 1, 4, 3), None)
    image = open_image(body, LIMITS)
    assert image.size == (5, 4)
    pixels = read_pixels(image)
    assert (pixels.getpixel((0, 0)), pixels.getpixel((4, 3))) == ((255, 255, 255), (255, 0, 0))


@pytest.mark.parametrize(
    ("mode", "fill", "shown"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("1", 0, (0, 0, 0)),
        ("P", 0, (0, 0, 0)),
        ("I;16", 0x8080, (128, 128, 128)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (60, 255), (60, 60, 60)),
    ],
)
def test_every_mode_is_shown_as_on_white_paper(
    mode: str, fill: int | tuple[int, ...], shown: tuple[int, int, int]
) -> None:
    assert color_of(encode(Image.new(mode, (8, 8), fill))) == pytest.approx(shown, abs=1)


@pytest.mark.parametrize(
    ("mode", "fill", "found"),
    [
        ("L", 9, "L"),
        ("1", 1, "L"),
        ("I;16", 9, "L"),
        ("P", 0, "RGB"),
        ("RGB", 0, "RGB"),
        ("LA", 0, "RGB"),
        ("RGBA", 0, "RGB"),
    ],
)
def test_pixels_are_rgb_or_gray(mode: str, fill: int, found: str) -> None:
    image = Image.new(mode, (8, 8), fill)
    assert read_pixels(open_image(encode(image), LIMITS)).mode == found


@pytest.mark.parametrize("form", ["GIF", "PNG"])
def test_a_transparent_palette_color_is_white_and_the_others_stay(form: str) -> None:
    image = Image.new("P", (8, 8), 3)
    image.putpalette([0, 0, 0] * 3 + [255, 0, 0] + [0, 0, 255])
    image.putpixel((1, 0), 4)
    pixels = read_pixels(open_image(encode(image, form, transparency=3), LIMITS))
    assert pixels.mode == "RGB"
    assert pixels.getpixel((0, 0)) == (255, 255, 255)
    assert pixels.getpixel((1, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("mode", "transparent", "other"),
    [("RGB", (1, 2, 3), (1, 2, 4)), ("L", 7, 8)],
)
def test_a_color_that_a_png_declares_transparent_is_white(
    mode: str, transparent: int | tuple[int, ...], other: int | tuple[int, ...]
) -> None:
    image = Image.new(mode, (8, 8), transparent)
    image.putpixel((1, 0), other)
    body = encode(image, transparency=transparent)
    pixels = read_pixels(open_image(body, LIMITS)).convert("RGB")
    assert pixels.getpixel((0, 0)) == (255, 255, 255)
    assert pixels.getpixel((1, 0)) == (other if isinstance(other, tuple) else (other,) * 3)


def test_a_cmyk_jpeg_is_read() -> None:
    body = encode(Image.new("CMYK", (16, 16), (255, 255, 0, 0)), "JPEG", quality=95)
    red, green, blue = color_of(body)
    assert blue > 200
    assert red + green < 100


@pytest.mark.parametrize(
    ("mode", "fill", "gray"),
    [
        ("I;16", 128, 0),
        ("I;16", 129, 1),
        ("I;16", 200, 1),
        ("I;16", 65535, 255),
        ("I", 200, 200),
        ("I", 255, 255),
        ("I", 256, 1),
        ("I", 65535, 255),
        ("I", 1_000_000, 0),
        ("I", 2**30, 128),
        ("I", -5, 0),
        ("F", 0.5, 128),
        ("F", 0.75, 191),
        ("F", 1.0, 255),
        ("F", 1.4, 1),
        ("F", 1.6, 2),
        ("F", 200.0, 200),
        ("F", 300.0, 1),
        ("F", 65535.0, 255),
        ("F", -1.0, 0),
        ("F", float("nan"), 0),
    ],
)
def test_deep_gray_is_brought_to_eight_bits(mode: str, fill: float, gray: int) -> None:
    assert color_of(encode(Image.new(mode, (8, 8), fill), "TIFF")) == (gray, gray, gray)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_an_orientation_turns_the_stored_image_into_the_displayed_one(form: str, tag: int) -> None:
    skip_without_reader(form)
    body = encode(
        Image.open(BytesIO(photograph("rocket"))).resize((40, 24)), form, exif=oriented(tag)
    )
    image = open_image(body, LIMITS)
    turn = orientation(image)
    pixels = read_pixels(image)
    shown = pixels if turn is None else pixels.transpose(turn)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(body)))
    assert (turn is None) == (tag == 1)
    assert np.array_equal(np.asarray(shown), np.asarray(expected))


@pytest.mark.parametrize("tag", [0, 9, 300])
def test_an_orientation_that_does_not_exist_turns_nothing(tag: int) -> None:
    body = encode(Image.new("RGB", (8, 4)), "JPEG", exif=oriented(tag))
    assert orientation(open_image(body, LIMITS)) is None


def test_an_image_without_exif_is_upright_and_stays_unread() -> None:
    image = open_image(photograph("coffee"), LIMITS)
    assert orientation(image) is None
    assert not is_decoded(image)


@pytest.mark.parametrize("more", [{}, {700: b"<x:xmpmeta/>"}], ids=["exif", "exif and XMP"])
def test_a_tiff_is_turned_by_its_reader_and_not_again(more: dict[int, bytes]) -> None:
    body = encode(Image.new("RGB", (8, 4)), "TIFF", tiffinfo={274: 6, **more})
    image = open_image(body, LIMITS)
    assert orientation(image) is None
    assert read_pixels(image).size == (4, 8)


def test_the_orientation_of_a_png_is_found_behind_its_pixels() -> None:
    body = encode(Image.new("RGB", (8, 4)), exif=oriented(6))
    start = body.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(body[start : start + 4])
    moved = body[:start] + body[end:-12] + body[start:end] + body[-12:]
    assert moved.index(b"IDAT") < moved.index(b"eXIf")
    assert orientation(open_image(moved, LIMITS)) is Image.Transpose.ROTATE_270


def test_an_orientation_in_xmp_alone_turns_nothing_as_in_browsers() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    for body in (
        encode(Image.new("RGB", (8, 4)), "JPEG", xmp=xmp),
        encode(Image.new("RGB", (8, 4)), "JPEG", xmp=xmp, exif=Image.Exif()),
        encode(Image.new("RGB", (8, 4)), "WEBP", xmp=xmp),
        encode(Image.new("RGB", (8, 4)), pnginfo=text),
    ):
        assert orientation(open_image(body, LIMITS)) is None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00nonsense", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"])
def test_damaged_exif_is_no_reason_to_refuse_an_image(exif: bytes) -> None:
    image = open_image(encode(Image.new("RGB", (8, 4), "red"), "JPEG", exif=exif), LIMITS)
    assert orientation(image) is None
    assert read_pixels(image).size == (8, 4)


def test_no_bytes_are_no_image() -> None:
    with pytest.raises(EmptyImageError):
        open_image(b"", LIMITS)


@pytest.mark.parametrize("body", [b"hello", b"%PDF-1.7 ...", b"<svg/>", b"\x00" * 100, b"\xff\xd8"])
def test_what_is_no_image_is_named_so(body: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="Send JPEG"):
        open_image(body, LIMITS)


@pytest.mark.parametrize(
    ("form", "place", "byte", "reason"),
    [
        ("JPEG", 4, 255, "The JPEG can not be read: it ends too early"),
        ("TIFF", 12, 1, "The TIFF's header is damaged: it has no width and height"),
        ("AVIF", 81, 255, "The AVIF can not be read: it ends too early"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_header_is_named_with_what_is_wrong_in_it(
    form: str, place: int, byte: int, reason: str
) -> None:
    skip_without_reader(form)
    body = bytearray(encode(Image.new("RGB", (20, 20), "red"), form))
    body[place] = byte
    with pytest.raises(BrokenImageError, match=rf"{reason}.*\. Send "):
        open_image(bytes(body), LIMITS)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.95])
def test_an_image_cut_short_is_an_image_error_and_nothing_else(form: str, kept: float) -> None:
    skip_without_reader(form)
    body = photograph("coffee", form)
    with pytest.raises(ImageError):
        read_pixels(open_image(body[: int(len(body) * kept)], LIMITS))


def test_a_truncated_jpeg_says_so() -> None:
    body = photograph("coffee")
    with pytest.raises(BrokenImageError, match="cut short"):
        read_pixels(open_image(body[: len(body) // 2], LIMITS))


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(TooManyPixelsError, match="2000×1000 pixels are more than the 1 million"):
        open_image(png_of_size(2000, 1000), LIMITS)


def test_what_pillow_itself_refuses_is_refused_with_our_limit() -> None:
    with pytest.raises(TooManyPixelsError, match="Its pixels are more than the 1000 million"):
        open_image(gif_of_size(60_000, 60_000), Limits(max_pixels=10**9))


def test_an_image_of_just_the_allowed_pixels_is_opened_and_not_decoded() -> None:
    image = open_image(png_of_size(1000, 1000), LIMITS)
    assert image.size == (1000, 1000)
    assert not is_decoded(image)
    with pytest.raises(TooManyPixelsError):
        open_image(png_of_size(1001, 1000), LIMITS)


def test_the_limit_of_pixels_is_the_default_of_the_setting() -> None:
    assert Limits().max_pixels == Settings.model_fields["max_pixels"].default


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_never_escapes_as_another_error() -> None:
    random = np.random.default_rng(7)
    for form in FORMATS:
        if form == "AVIF" and not features.check("avif"):
            continue
        whole = np.frombuffer(
            encode(Image.open(BytesIO(photograph("rocket"))).resize((80, 60)), form), np.uint8
        )
        for _ in range(60):
            hurt = whole.copy()
            places = random.integers(0, len(hurt), 8)
            hurt[places] = random.integers(0, 256, 8)
            with contextlib.suppress(ImageError):
                read_pixels(open_image(hurt.tobytes(), LIMITS))


def oriented(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


def is_decoded(image: OpenedImage) -> bool:
    """Pillow makes the memory for an image's pixels when it decodes them."""
    return image.file._im is not None  # noqa: SLF001  # Pillow's public `im` would decode


def gif_of_size(width: int, height: int) -> bytes:
    body = encode(Image.new("L", (1, 1)), "GIF")
    return body[:6] + struct.pack("<HH", width, height) + body[10:]


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises far more than its few bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
