"""Bytes → an opened image: its format, size and orientation; then its pixels as RGB or gray."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import (
    BrokenImageError,
    EmptyImageError,
    TooManyPixelsError,
)
from service.imaging import bmp, png, tiff
from service.imaging.announced import quick_pixels
from service.imaging.avif_boxes import Budget
from service.imaging.avif_first_frame import first_frame
from service.imaging.avif_frames import decoded
from service.imaging.avif_rewritten import rewritten
from service.imaging.bmp_samples import BmpSamples, as_24_bits, load_samples, samples_of
from service.imaging.deadline import CheckedBytes, GoOn, without_end
from service.imaging.depth import Samples, in_strips, to_eight_bits
from service.imaging.exif import exif_orientation
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.formats import FORMATS, format_of, require_format, require_tiff_decoder
from service.imaging.jpeg_file import open_jpeg
from service.imaging.jpeg_header import JPEG_START, without_filling, without_long_fill
from service.imaging.jpeg_pixels import load_jpeg
from service.imaging.metadata import (
    MAX_METADATA_BYTES,
    require_little_metadata,
    too_much,
)
from service.imaging.png import Png
from service.imaging.png_pixels import PngFrame, clear_pixels, load_frame, open_frame
from service.imaging.room import SMALL_PIXELS, TIGHT_BYTES_PER_PIXEL
from service.imaging.shortage import SILENT_FORMATS, require_memory
from service.imaging.tiff_file import open_tiff
from service.imaging.tiff_pixels import load_tiff
from service.imaging.tiff_places import check_places
from service.imaging.unread import TIFF_STARTS, why_unread
from service.imaging.webp import load_first_frame, with_alpha
from service.imaging.webp_codes import codes_of
from service.value import value

MAX_SIDE = 1_000_000
"""The longest side that is read. No camera or scanner makes a longer one, and each row costs memory of its own."""

DEEP_BYTES_PER_PIXEL = 5
"""A TIFF may have samples of so many bytes for each pixel that is allowed: 256 MB of gray floats take 2 s."""

AVIF_LAYERS = 4
"""An AVIF may have so many; nobody can stop their decoder before it has read all."""

TRANSPOSITIONS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → the transposition from the stored image to the displayed one (TIFF 6.0, tag 274)."""

_SEND_WHOLE = "Send the whole file."

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the stored canvas."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one image.

    `max_pixels` counts the pixels of the stored image, by its header, before any pixel is decoded. `formats` are those
    that are read, by Pillow's names; no reader of another one is tried. `max_metadata_bytes` is what a reader may hold
    beside the pixels.
    """

    max_pixels: int = 64_000_000
    formats: tuple[str, ...] = FORMATS
    max_metadata_bytes: int = MAX_METADATA_BYTES


@value
class OpenedImage:
    """An image with its header read and no pixel decoded.

    `file` is Pillow's image of the frame that is displayed first, `size` that of the whole stored canvas, on which the
    frame covers `box`; what a frame leaves free is clear. `samples` are given where the file's pixels are words that
    become 8 bits; `png` are the chunks of a PNG, `bmp` the meaning of bits that Pillow does not read. `counted` is how
    many pixels it counts for, where more are decoded than the canvas has; `sample_bytes` are those of deep samples,
    `code_bytes` those of a WebP's prefix codes, or what an AVIF takes beyond its pixels: for streams of many bytes, and
    for samples of many bits.
    """

    body: bytes = field(repr=False)
    file: Image.Image
    size: tuple[int, int]
    orientation: int = 1
    box: Box | None = None
    samples: Samples | None = None
    png: Png | None = None
    bmp: BmpSamples | None = None
    counted: int = 0
    sample_bytes: int = 0
    code_bytes: int = 0

    @property
    def pixels(self) -> int:
        """How many pixels it counts for in the limits of what is decoded."""
        return max(self.counted, self.size[0] * self.size[1])

    @property
    def held_pixels(self) -> int:
        """For how many pixels it takes memory while it is decoded: deep samples are held twice."""
        own = max(self.pixels, 2 * self.sample_bytes // TIGHT_BYTES_PER_PIXEL)
        return own + self.code_bytes // TIGHT_BYTES_PER_PIXEL

    @property
    def can_be_reduced(self) -> bool:
        """Whether its reader can decode it at a reduced scale."""
        return self.file.format in {"JPEG", "MPO"}

    def reduce(self, reduction: int) -> int:
        """Decode at 1/2, 1/4 or 1/8 of the size, if the reader can; return the reduction that it takes."""
        self.file.draft(None, (self.size[0] // reduction, self.size[1] // reduction))
        return round(self.size[0] / self.file.width)


def open_image(body: bytes, limits: Limits, go_on: GoOn = without_end) -> OpenedImage:
    """Return the image with its header read and no pixel decoded.

    Args:
        body: encoded.
        limits: of the image.
        go_on: called between parts of a header that may be long.

    Raises:
        EmptyImageError: no bytes.
        UnsupportedImageError: the bytes are of no known format, or of a kind of one that is not read.
        BrokenImageError: the format is known, the header is damaged.
        TooManyPixelsError: more pixels than `limits` allow.
        TooMuchMetadataError: more metadata than `limits` allow.
    """
    if not body:
        raise EmptyImageError(
            "The image has no bytes. Send the file itself, e.g. curl --data-binary @cat.jpg"
        )
    if limits.formats is not FORMATS:
        require_format(body, limits.formats)
    if body.startswith(JPEG_START):
        return _open_jpeg(body, limits)
    if body.startswith(png.SIGNATURE):
        return _open_png(body, limits)
    if body.startswith(TIFF_STARTS):
        return _open_tiff(body, limits)
    if body.startswith(b"BM"):
        return _open_bmp(bmp.with_alpha_mask(body), limits)
    if format_of(body) == "AVIF":
        return _open_avif(body, limits, go_on)
    return _open_other(body, limits)


def _open_jpeg(body: bytes, limits: Limits) -> OpenedImage:
    body = without_long_fill(without_filling(body))
    if len(body) > limits.max_metadata_bytes:
        require_little_metadata(body, "JPEG", limits.max_metadata_bytes)
    file = _open(body, limits, open_jpeg)
    return OpenedImage(body, file, file.size, exif_orientation(file.info.get("exif", b"")))


def _open_avif(body: bytes, limits: Limits, go_on: GoOn) -> OpenedImage:
    """Open an AVIF, whose frames may be larger than its boxes say, and have layers.

    Its boxes never reach Pillow: their reader may take any time and memory for few bytes, and no thread can run beside.
    """
    budget = Budget(go_on)
    frame = first_frame(body, budget)
    if frame.profile_bytes > limits.max_metadata_bytes:
        raise too_much("AVIF", limits.max_metadata_bytes)
    _check_size(frame.size, limits)
    takes = decoded(frame, budget)
    if takes.pixels > limits.max_pixels or takes.total > AVIF_LAYERS * limits.max_pixels:
        raise _too_many_pixels(limits)
    own = rewritten(frame)
    try:
        file = _open(own, limits)
    except BrokenImageError as error:
        raise why_unread(body) from error
    counted = min(takes.total, limits.max_pixels)
    turned = exif_orientation(file.info.get("exif", b""))
    deep = takes.bytes + len(own) - counted * TIGHT_BYTES_PER_PIXEL
    more = max(0, len(own) - counted, deep)  # held beside what a client sent
    return OpenedImage(own, file, file.size, turned, counted=counted, code_bytes=more)


def _open_other(body: bytes, limits: Limits) -> OpenedImage:
    """Open a WebP, a GIF, or what is none of all formats."""
    if body.startswith(b"RIFF"):
        require_little_metadata(body, "WEBP", limits.max_metadata_bytes)
        body = with_alpha(body)
    elif body.startswith(b"GIF8"):
        require_little_metadata(body, "GIF", limits.max_metadata_bytes)
    file = _open(body, limits)
    box = _gif_box(file) if file.format == "GIF" else None
    held = codes_of(body).bytes if file.format == "WEBP" else 0
    turned = exif_orientation(file.info.get("exif", b""))
    return OpenedImage(body, file, file.size, turned, box, code_bytes=held)


def _open(
    body: bytes, limits: Limits, read: Callable[[bytes], Image.Image] | None = None
) -> Image.Image:
    try:
        file = read(body) if read else Image.open(BytesIO(body), formats=limits.formats)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits) from error
    except UnidentifiedImageError as error:
        raise why_unread(body) from error
    except PILLOW_FAULTS as error:
        if body.startswith(b"RIFF"):  # its canvas is allocated here
            require_memory(min(quick_pixels(body) or 0, limits.max_pixels))
        if str(error).startswith("Unsupported BMP"):
            raise bmp.refused(body) from error
        raise why_unread(body) from error
    _check_size(file.size, limits)
    return file


def _open_bmp(body: bytes, limits: Limits) -> OpenedImage:
    samples = samples_of(body)
    if samples is not None:
        body = as_24_bits(body)
    file = _open(body, limits)
    return OpenedImage(body, file, file.size, bmp=samples)


def _open_png(body: bytes, limits: Limits) -> OpenedImage:
    shown = png.first_frame(body)
    _check_size(shown.canvas, limits)
    if len(shown.exif) > limits.max_metadata_bytes:
        raise too_much("PNG", limits.max_metadata_bytes)
    file = open_frame(shown)
    left, top, right, bottom = shown.box
    box = None if (right - left, bottom - top) == shown.canvas else shown.box
    orientation = exif_orientation(shown.exif)
    samples = None
    if file.mode.startswith("I;16"):
        gray = shown.transparent[0] if shown.transparent else None
        samples = Samples("u2", 16, transparent=gray)
    elif shown.transparent and len(shown.transparent) == 1:
        file.info["transparency"] = shown.transparent[0] * (255 // (2**shown.depth - 1))
    elif shown.transparent and shown.depth == 8:  # of 16 bits Pillow keeps the high 8
        file.info["transparency"] = shown.transparent
    return OpenedImage(body, file, shown.canvas, orientation, box, samples, shown)


def _open_tiff(body: bytes, limits: Limits) -> OpenedImage:
    try:
        page = tiff.full_page(body, limits.max_metadata_bytes)
    except PILLOW_FAULTS as error:
        raise why_unread(body) from error
    _check_size((page.layout.width, page.layout.height), limits)
    _check_tiles(page, limits)
    if page.samples is not None:
        _check_sample_bytes(page, limits)
    require_tiff_decoder(page.layout.compression, limits.formats)
    try:
        file = open_tiff(page.body)
        check_places(page.directory, len(body))
    except PILLOW_FAULTS as error:
        if str(error) in tiff.PILLOW_REFUSALS:
            raise tiff.refused(page.layout) from error
        raise why_unread(body) from error
    counted = page.layout.counted_pixels
    if page.samples is None:  # Pillow itself applies the orientation
        return OpenedImage(page.body, file, file.size, counted=counted)
    size = (page.layout.width, page.layout.height)
    return OpenedImage(
        page.body,
        file,
        size,
        page.orientation,
        samples=page.samples,
        counted=counted,
        sample_bytes=page.sample_bytes,
    )


def _check_tiles(page: tiff.Page, limits: Limits) -> None:
    """Refuse tiles that have many more pixels than the image: they are decoded whole.

    What is allowed of pixels and of deep samples is allowed twice, since the tiles of a small image may double it.
    """
    layout, allowed = page.layout, 2 * max(limits.max_pixels, SMALL_PIXELS)
    most = DEEP_BYTES_PER_PIXEL * allowed // max(DEEP_BYTES_PER_PIXEL, page.bytes_per_pixel)
    largest = min(most, layout.most_padded_pixels)
    if layout.padded_pixels > most or layout.columns * layout.tile_rows > largest:
        raise TooManyPixelsError(
            f"The TIFF's tiles of {layout.columns}×{layout.tile_rows} pixels have {layout.padded_pixels} pixels "
            f"together, for an image of {layout.width}×{layout.height}. At most {most} are read, and {largest} of a "
            "tile. Save it with smaller tiles, or in strips."
        )


def _check_sample_bytes(page: tiff.Page, limits: Limits) -> None:
    """Refuse samples that take much longer to decode than the largest image of another kind."""
    most = DEEP_BYTES_PER_PIXEL * limits.max_pixels
    if page.sample_bytes > most:
        raise TooManyPixelsError(
            f"The samples of the TIFF, {page.layout}, have {page.sample_bytes} bytes, more than the "
            f"{most} allowed. Send a smaller image, or one with 8 bits per sample."
        )
    most = 2 * (Image.MAX_IMAGE_PIXELS or page.sample_count)  # each is a pixel to Pillow
    if page.sample_count > most:
        raise TooManyPixelsError(
            f"The samples of the TIFF, {page.layout}, are {page.sample_count}, more than the {most} that are read. "
            "Send a smaller image, or save it as RGB with 8 bits (unsigned integer) per sample."
        )


def _gif_box(file: Image.Image) -> Box | None:
    """Return the box of a GIF's first frame, if it leaves a part of the canvas free."""
    tiles = getattr(file, "tile", ())
    box: Box | None = tiles[0][1] if tiles else None
    return box if box != (0, 0, *file.size) else None


def orientation(image: OpenedImage) -> Image.Transpose | None:
    """Return the transposition from the stored image to the displayed one, None where they are the same."""
    return TRANSPOSITIONS.get(image.orientation)


def read_pixels(image: OpenedImage, go_on: GoOn = without_end) -> Image.Image:
    """Return the stored image's pixels in mode RGB, or L where every pixel is gray.

    Alpha is composited over white. Deep samples become 8 bits as docs/images.md says. Color profiles are not applied,
    because the training pipelines of these networks do not apply them.

    Args:
        image: as `open_image` returned it; it is read once.
        go_on: called between the parts that are decoded or converted one after the other.

    Raises:
        BrokenImageError: the pixels are damaged or cut short.
        UnsupportedImageError: they are of a kind of JPEG that is not read.
        MemoryError: there is not enough memory for them.
    """
    if go_on is not without_end:
        _check_each_piece(image.file, go_on)
    try:
        return _displayed(image, _loaded(image, go_on), go_on)
    except Image.DecompressionBombError as error:
        raise BrokenImageError(
            f"The image holds more pixels than its header says. It is damaged. {_SEND_WHOLE}"
        ) from error
    except PILLOW_FAULTS as error:
        if image.file.format in SILENT_FORMATS:
            require_memory(image.file.width * image.file.height)
        raise _few_pixels(image.file.format) from error


def _check_each_piece(file: Image.Image, go_on: GoOn) -> None:
    """Let Pillow check before each 64 KiB that it decodes, where its decoder of this format works so."""
    stream = getattr(file, "fp", None)
    if isinstance(stream, BytesIO):
        checked = CheckedBytes(stream.getvalue(), go_on)
        checked.seek(stream.tell())
        file.fp = checked  # type: ignore[attr-defined]


def _few_pixels(form: str | None) -> BrokenImageError:
    name = {"MPO": "JPEG", "WEBP": "WebP"}.get(form or "", form or "image")
    return BrokenImageError(
        f"The {name} is damaged or cut short: it has fewer pixels than its header says. {_SEND_WHOLE}"
    )


def _loaded(image: OpenedImage, go_on: GoOn) -> Image.Image:
    if isinstance(image.file, PngFrame):
        return load_frame(image.file, go_on)
    if image.can_be_reduced:
        return load_jpeg(image.file, image.body, go_on)
    if isinstance(image.file, WebPImageFile):
        return load_first_frame(image.file, go_on)
    if isinstance(image.file, BmpImageFile):
        return _loaded_bmp(image, image.file, go_on)
    if isinstance(image.file, TiffImageFile):
        return load_tiff(image.file, image.body, image.samples, go_on)
    image.file.load()
    return image.file


def _loaded_bmp(image: OpenedImage, file: BmpImageFile, go_on: GoOn) -> Image.Image:
    if image.bmp is not None:
        return load_samples(file, image.body, image.bmp, go_on)
    if bmp.has_run_lengths(file):
        return bmp.load_run_lengths(file, image.body, go_on)
    file.load()
    return file


def _displayed(image: OpenedImage, file: Image.Image, go_on: GoOn) -> Image.Image:
    if image.samples is not None:
        pixels = to_eight_bits(file, image.samples, go_on)
    elif image.png is not None and image.png.transparent and image.png.depth == 16:
        pixels = _without_color(image.png, file, go_on)
    else:
        pixels = _flatten(file, go_on)
    return pixels if image.box is None else _on_canvas(image.size, pixels, image.box)


def _on_canvas(size: tuple[int, int], pixels: Image.Image, box: Box) -> Image.Image:
    frame = pixels.crop(box) if pixels.size == size else pixels  # of a GIF, Pillow gives the canvas
    canvas = Image.new(pixels.mode, size, "white")
    canvas.paste(frame, box)
    return canvas


def _flatten(file: Image.Image, go_on: GoOn) -> Image.Image:
    if file.mode in {"RGB", "L"} and "transparency" not in file.info:
        return file
    if file.mode in {"1", "L"}:
        return _gray_over_white(file)
    if file.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in file.info:
        return in_strips(file, "RGB", _over_white, go_on)
    return file.convert("RGB")


def _gray_over_white(file: Image.Image) -> Image.Image:
    gray = file.convert("L")
    transparent = file.info.get("transparency")
    if transparent is None:
        return gray
    return gray.point([255 if value == transparent else value for value in range(256)])


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # Pillow converts this mode to no other
        image = image.convert("LA")
    image = image.convert("RGBA")
    paper = Image.new("RGB", image.size, (255, 255, 255))
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _without_color(image: Png, pixels: Image.Image, go_on: GoOn) -> Image.Image:
    """Return a 16-bit RGB PNG, changed: its transparent color is white."""
    for box, clear in clear_pixels(image, pixels, go_on):
        pixels.paste((255, 255, 255), box, clear)
    return pixels


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    if max(size) > MAX_SIDE:
        raise TooManyPixelsError(
            f"{size[0]}×{size[1]} pixels: a side is longer than the {MAX_SIDE} pixels that are read. Send a part of it."
        )
    if size[0] * size[1] > limits.max_pixels:
        raise _too_many_pixels(limits, size)


def _too_many_pixels(limits: Limits, size: tuple[int, int] | None = None) -> TooManyPixelsError:
    found = f"{size[0]}×{size[1]} pixels are" if size else "Its pixels are"
    allowed = f"{limits.max_pixels / 1e6:g} million"
    return TooManyPixelsError(f"{found} more than the {allowed} allowed. Send a smaller image.")
