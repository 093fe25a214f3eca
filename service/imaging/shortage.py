"""Was a file damaged, or was there no memory? Decoders of WebP, AVIF and videos fail in the same way for both."""

import mmap
from collections.abc import Callable

SILENT_FORMATS = frozenset({"WEBP", "AVIF"})
"""By Pillow's names: their decoders do not say that an allocation failed."""
BYTES_PER_PIXEL = 8
"""Two canvases of a WebP, or an AVIF's planes and its RGBA."""
LEAST_BYTES = 2**20


def reserve(size: int) -> None:
    """Ask the system for so many bytes, and give them back untouched.

    Raises:
        OSError: it has not as many.
    """
    mmap.mmap(-1, size).close()


def require_memory(pixels: int = 0, reserve: Callable[[int], None] = reserve) -> None:
    """Call this when such a decoder has failed.

    Args:
        pixels: of the image or frame, by its header; 0: not known.
        reserve: takes bytes; raises OSError or MemoryError where there are not as many.

    Raises:
        MemoryError: there is not as much memory as the decoder needed: the file may be whole.
    """
    try:
        reserve(LEAST_BYTES + BYTES_PER_PIXEL * pixels)
    except OSError as error:
        raise MemoryError(f"no memory for an image of {pixels} pixels") from error
