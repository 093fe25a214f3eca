"""An AVIF → its first frame: from its items, or from its tracks where it is animated."""

import struct

from service.errors import BrokenImageError
from service.imaging.avif import MOST_PICTURES, Avif, Picture, Streams
from service.imaging.avif_boxes import Budget, Place, UnreadableError, first_boxes
from service.imaging.avif_items import item_picture
from service.imaging.avif_tracks import track_picture
from service.imaging.unread import why_unread

_STILL, _ANIMATED = b"avif", b"avis"
_BRANDS_BYTES = 4096


def first_frame(body: bytes, budget: Budget | None = None) -> Avif:
    """Return what the first frame of an AVIF needs. EXIF, XMP, previews and other frames are skipped.

    The time that it takes is bounded by the steps of `budget`, whatever the boxes say.

    Args:
        body: the file.
        budget: counts what is done; None: one of its own.

    Raises:
        BrokenImageError: its boxes are damaged, are more than any image has, or name parts that are not in the file.
        UnsupportedImageError: it is another kind of file, or has a property that a reader must know.
        DeadlineError: from the check of the budget.
    """
    try:
        return _first_frame(body, budget or Budget())
    except (UnreadableError, struct.error) as error:
        raise why_unread(body) from error


def _first_frame(body: bytes, budget: Budget) -> Avif:
    streams = Streams(body)
    found = first_boxes(body, (0, len(body)), budget)
    picture = _picture(body, found, budget, streams)
    count = sum(1 for _ in picture)
    if count > MOST_PICTURES:
        raise BrokenImageError(
            f"The AVIF has {count} tiles, more than the {MOST_PICTURES} that are read. Encode it again."
        )
    size = picture.size
    if size is None:
        raise UnreadableError
    return Avif(picture, size, tuple(streams.found))


def _picture(body: bytes, found: dict[bytes, Place], budget: Budget, streams: Streams) -> Picture:
    major, brands = _brands(body, found.get(b"ftyp", (0, 0)))
    if not brands & {_STILL, _ANIMATED}:
        raise UnreadableError
    is_animated = major != _STILL and _ANIMATED in brands and b"moov" in found
    if is_animated:
        return track_picture(body, found[b"moov"], budget, streams)
    if b"meta" not in found or major == _ANIMATED:
        raise UnreadableError
    return item_picture(body, found[b"meta"], budget, streams)


def _brands(body: bytes, place: Place) -> tuple[bytes, set[bytes]]:
    """Return the first brand of a file, and all of them (ISO/IEC 14496-12, 4.3)."""
    start, end = place[0], min(place[1], place[0] + _BRANDS_BYTES)
    major = body[start : start + 4]
    return major, {major, *(body[at : at + 4] for at in range(start + 8, end, 4))}
