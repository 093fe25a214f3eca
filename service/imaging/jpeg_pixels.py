"""A JPEG → its pixels, all of them."""

from PIL import Image

from service.errors import BrokenImageError
from service.imaging.deadline import GoOn, without_end
from service.imaging.jpeg_file import open_jpeg
from service.imaging.jpeg_scans import check_scans, has_one_scan
from service.imaging.jpeg_tail import completed, is_doubtful, lacks_pixels
from service.imaging.unread import unsupported_jpeg

_REDUCTIONS = (8, 4, 2)
"""What libjpeg divides both sides by, rounded up, where it is not asked for all pixels."""


def load_jpeg(file: Image.Image, body: bytes, go_on: GoOn = without_end) -> Image.Image:
    """Return the pixels at the scale that is drafted.

    Args:
        file: Pillow's image of it, whose pixels are not decoded yet.
        body: the file.
        go_on: called before each time that it is decoded.

    Raises:
        BrokenImageError: pixels are missing, or it has too many scans.
        UnsupportedImageError: it is of a kind that is not read.
        OSError: Pillow can not decode it.
    """
    stream = getattr(file, "fp", None)
    start = stream.tell() if stream is not None else 0  # behind the header of the first scan
    if not has_one_scan(file, body, start):
        check_scans(body, _whole_pixels(file))
    try:
        file.load()
    except OSError:
        if refused := unsupported_jpeg(body):
            raise refused from None
        whole = completed(body, go_on)
        if whole is None:
            raise
        return _loaded_at(whole, file.size)
    if is_doubtful(file, body, start) and lacks_pixels(body, go_on):
        raise BrokenImageError(
            "The JPEG is damaged or cut short: it has fewer pixels than its header says. Send the whole file."
        )
    return file


def _whole_pixels(file: Image.Image) -> int:
    """Return how many pixels the file has; its image has fewer where a reduced scale is drafted."""
    scale, *_ = getattr(file, "decoderconfig", ()) or (1,)
    return file.width * file.height * int(scale) ** 2


def _loaded_at(body: bytes, size: tuple[int, int]) -> Image.Image:
    file = open_jpeg(body)
    width, height = file.size
    for reduction in _REDUCTIONS:
        if (-(-width // reduction), -(-height // reduction)) == size:
            file.draft(None, (max(1, width // reduction), max(1, height // reduction)))
            break
    file.load()
    return file
