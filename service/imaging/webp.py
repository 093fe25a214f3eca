"""A WebP → its first frame, and its pixels with no more copies than its decoder makes."""

from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from service.imaging.deadline import GoOn, without_end
from service.imaging.depth import in_strips

_FLAGS, _ANIMATION, _ALPHA = 20, 0x02, 0x10
"""The place of the flags of a WebP, and two of them (RFC 9649, 2.7)."""


def with_alpha(body: bytes) -> bytes:
    """Return an animated WebP that says that it has alpha: without it a reader makes black what frames leave free."""
    flags = body[_FLAGS] if body[12:16] == b"VP8X" and len(body) > _FLAGS else 0
    if not flags & _ANIMATION or flags & _ALPHA:
        return body
    return b"".join((body[:_FLAGS], bytes((flags | _ALPHA,)), memoryview(body)[_FLAGS + 1 :]))


def load_first_frame(file: WebPImageFile, go_on: GoOn = without_end) -> Image.Image:
    """Return the first frame in mode RGB, or RGBA over which nothing is composited yet.

    The decoder has the canvas twice, and gives it as bytes. It is let go before these become an image, and an RGBA
    image uses the bytes as they are.
    """
    data, *_ = file._get_next()  # noqa: SLF001  # `load` would keep the decoder
    file._decoder = None  # noqa: SLF001
    if file.mode == "RGBA":
        return Image.frombuffer("RGBA", file.size, data, "raw", "RGBA", 0, 1)
    stored = Image.frombuffer("RGBX", file.size, data, "raw", "RGBX", 0, 1)
    return in_strips(stored, "RGB", _without_fourth, go_on)


def _without_fourth(strip: Image.Image) -> Image.Image:
    return strip.convert("RGB")
