"""The image formats that a service reads: all that docs/images.md lists, or those that its operator names."""

from collections.abc import Iterable

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import ImageError, UnsupportedImageError
from service.imaging.unread import SEND, TIFF_STARTS, why_unread

FORMATS = tuple(
    reader.format
    for reader in (
        JpegImageFile,
        PngImageFile,
        WebPImageFile,
        GifImageFile,
        BmpImageFile,
        TiffImageFile,
        AvifImageFile,
    )
)
"""By Pillow's names; of an animated image the first frame is used. AVIF needs a Pillow built with it."""

_NAMES = {"WEBP": "WebP"}
_STARTS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    **dict.fromkeys(TIFF_STARTS, "TIFF"),
}
_AVIF_BRANDS = frozenset({b"avif", b"avis", b"mif1", b"msf1"})
_TIFF_DECODERS = {6: "JPEG", 7: "JPEG", 50001: "WEBP"}
"""Compression of a TIFF → the format whose decoder reads its strips."""


def formats_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the formats with these names, in whatever case; none given: all."""
    chosen = {name.upper() for name in names}
    return tuple(one for one in FORMATS if one in chosen) if chosen else FORMATS


def format_of(body: bytes) -> str | None:
    """Return the format by the first bytes, of which every reader here demands the same; None for any other."""
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "WEBP"
    if body[4:8] == b"ftyp" and body[8:12] in _AVIF_BRANDS:
        return "AVIF"
    return next((name for start, name in _STARTS.items() if body.startswith(start)), None)


def require_format(body: bytes, allowed: tuple[str, ...]) -> None:
    """Refuse an image of a format that is not allowed, before any reader sees it.

    Raises:
        UnsupportedImageError: it is of another format; the message names those that are allowed.
        BrokenImageError: it is of none, but begins as if it were of one.
    """
    found = format_of(body)
    if found in allowed:
        return
    if found is not None:
        raise _not_allowed(f"The image is {_named(found)}, which", allowed)
    raise _with_allowed(why_unread(body), allowed)


def require_tiff_decoder(compression: int, allowed: tuple[str, ...]) -> None:
    """Refuse a TIFF whose strips need the decoder of a format that is not allowed.

    Raises:
        UnsupportedImageError: the message names the formats that are allowed.
    """
    needed = _TIFF_DECODERS.get(compression)
    if needed is not None and needed not in allowed:
        raise _not_allowed(f"The TIFF is compressed as {_named(needed)}, which", allowed)


def _named(form: str) -> str:
    return _NAMES.get(form, form)


def _either(allowed: tuple[str, ...]) -> str:
    *others, last = map(_named, allowed)
    return f"{', '.join(others)} or {last}" if others else last


def _not_allowed(what: str, allowed: tuple[str, ...]) -> UnsupportedImageError:
    return UnsupportedImageError(f"{what} this service does not read. Send {_either(allowed)}.")


def _with_allowed(error: ImageError, allowed: tuple[str, ...]) -> ImageError:
    """Return the error with the formats that are allowed in place of all."""
    text = str(error).replace(SEND, f"Send {_either(allowed)}.")
    return type(error)(text)
