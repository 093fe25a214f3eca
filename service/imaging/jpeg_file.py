"""A JPEG → Pillow's image of it, which has seen the size and the first scan's header, and none of the other segments.

Pillow makes objects of each tag of EXIF, each image of an MPO, each resource of Photoshop and each number of a table.
That took 0.5 s for 64 pixels, and no pixel needs it: libjpeg reads the file itself.
"""

from io import BytesIO
from typing import NamedTuple

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from service.errors import BrokenImageError
from service.imaging.jpeg_header import JPEG_START, MARKER, MAX_SEGMENTS

_WITHOUT_LENGTH = frozenset(range(0xD0, 0xDA))
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""The segments that state the size and the components (T.81, table B.1)."""
_FRAME_BYTES = 22
"""Of a marker and the segment of a frame with four components; no more are read."""
_UNREAD = frozenset((*range(0x02, 0xC0), 0x01, 0xC8, 0xDE, 0xDF, *range(0xF0, 0xFE)))
"""Behind one of these libjpeg decodes nothing."""
_SCAN, _APPLICATION_1 = 0xDA, 0xE1
_EXIF = b"Exif\0\0"


class JpegHead(NamedTuple):
    """What a JPEG says of its pixels before the first scan.

    Attributes:
        head: the file up to the end of the scan's header, without all that is no frame.
        place: in the file, behind that header.
        exif: the joined content of its segments with EXIF.
    """

    head: bytes
    place: int
    exif: bytes


def open_jpeg(body: bytes) -> Image.Image:
    """Return Pillow's image of a JPEG, of which no pixel is decoded; its `info` has the EXIF block.

    Raises:
        BrokenImageError: it has more segments than any real file.
        OSError, SyntaxError, …: Pillow's faults.
        UnidentifiedImageError: it has no frame that Pillow reads.
    """
    found = jpeg_head(body)
    file = Image.open(BytesIO(found.head), formats=[str(JpegImageFile.format)])
    stream = BytesIO(body)
    stream.seek(found.place)
    file.fp = stream
    if found.exif:
        file.info["exif"] = found.exif
    return file


def jpeg_head(body: bytes) -> JpegHead:
    """Return what Pillow has to see of a JPEG. A segment that the file cuts short is the last one of it.

    Raises:
        BrokenImageError: it has more segments than any real file.
    """
    exif: list[bytes] = []
    pieces, place = [body[:3]], len(JPEG_START)
    if body[2:3] == b"\xff":  # the first marker
        pieces = [body[:2]]
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(body, place)
        if found is None:
            return JpegHead(b"".join(pieces), len(body), b"".join(exif))
        start, code = found.start(), body[found.end() - 1]
        place = found.end()
        if code in _WITHOUT_LENGTH:
            continue
        if code in _UNREAD:
            pieces.append(body[start:place])
            return JpegHead(b"".join(pieces), place, b"".join(exif))
        place += int.from_bytes(body[place : place + 2])
        if code in _FRAMES:
            pieces.append(_frame(body[start:place]))
        elif code == _APPLICATION_1 and body.startswith(_EXIF, start + 4):
            exif.append(body[start + 4 + len(_EXIF) * bool(exif) : place])
        if code == _SCAN or place > len(body):
            pieces.append(body[start:place])
            return JpegHead(b"".join(pieces), place, b"".join(exif))
    raise BrokenImageError(
        f"The JPEG has more than {MAX_SEGMENTS} segments before its pixels. Encode it again."
    )


def _frame(segment: bytes) -> bytes:
    """Return a frame's segment without what it has behind four components: libjpeg refuses one of another length."""
    if len(segment) <= _FRAME_BYTES:
        return segment
    return segment[:2] + (_FRAME_BYTES - 2).to_bytes(2) + segment[4:_FRAME_BYTES]
