"""A JPEG → Pillow's image of it, which has seen the size and the first scan's header, and none of the other segments.

Its color profile and comment, which an image made of it still has, are put beside it as they are. Pillow makes objects
of each tag of EXIF, each image of an MPO, each resource of Photoshop and each number of a table. That took 0.5 s for 64
pixels, and no pixel needs it: libjpeg reads the file itself.
"""

from dataclasses import dataclass, field
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
_SCAN, _APPLICATION_1, _APPLICATION_2, _COMMENT = 0xDA, 0xE1, 0xE2, 0xFE
_EXIF = b"Exif\0\0"
_PROFILE = b"ICC_PROFILE\0"
"""Behind it are the number of the segment and the count of all, a byte each (ICC.1, B.4)."""


@dataclass(slots=True)
class _Notes:
    """What is known of the segments with metadata that were passed so far."""

    exif: list[bytes] = field(default_factory=list)
    profile: list[bytes] = field(default_factory=list)
    comment: bytes = b""

    def take(self, code: int, content: bytes, *, has_frame: bool) -> None:
        """Note the content of a segment; of a color profile that is behind a frame nothing."""
        if code == _APPLICATION_1 and content.startswith(_EXIF):
            self.exif.append(content[len(_EXIF) * bool(self.exif) :])
        elif code == _APPLICATION_2 and not has_frame and content.startswith(_PROFILE):
            self.profile.append(content[len(_PROFILE) :])
        elif code == _COMMENT:
            self.comment = content

    def found(self) -> dict[str, bytes]:
        """Return what there is; a profile whose segments are not as many as they say is left out."""
        profile = sorted(self.profile)
        is_whole = bool(profile) and len(profile[0]) > 1 and profile[0][1] == len(profile)
        notes = {
            "exif": b"".join(self.exif),
            "icc_profile": b"".join(one[2:] for one in profile) if is_whole else b"",
            "comment": self.comment,
        }
        return {name: note for name, note in notes.items() if note}


class JpegHead(NamedTuple):
    """What a JPEG says of its pixels before the first scan.

    Attributes:
        head: the file up to the end of the scan's header, without all that is no frame.
        place: in the file, behind that header.
        notes: by Pillow's names, the joined content of its segments with EXIF (`exif`), those of its color profile
            before the first frame (`icc_profile`), and its last comment (`comment`); none is empty.
    """

    head: bytes
    place: int
    notes: dict[str, bytes]


def open_jpeg(body: bytes) -> Image.Image:
    """Return Pillow's image of a JPEG, of which no pixel is decoded; its `info` has the notes.

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
    for name, note in found.notes.items():
        file.info[name] = note
    return file


def jpeg_head(body: bytes) -> JpegHead:
    """Return what Pillow has to see of a JPEG. A segment that the file cuts short is the last one of it.

    Raises:
        BrokenImageError: it has more segments than any real file.
    """
    notes = _Notes()
    pieces, place, has_frame = [body[:3]], len(JPEG_START), False
    if body[2:3] == b"\xff":  # the first marker
        pieces = [body[:2]]
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(body, place)
        if found is None:
            return JpegHead(b"".join(pieces), len(body), notes.found())
        start, code = found.start(), body[found.end() - 1]
        place = found.end()
        if code in _WITHOUT_LENGTH:
            continue
        if code in _UNREAD:
            pieces.append(body[start:place])
            return JpegHead(b"".join(pieces), place, notes.found())
        place += int.from_bytes(body[place : place + 2])
        if code in _FRAMES:
            pieces.append(_frame(body[start:place]))
            has_frame = True
        else:
            notes.take(code, body[start + 4 : place], has_frame=has_frame)
        if code == _SCAN or place > len(body):
            pieces.append(body[start:place])
            return JpegHead(b"".join(pieces), place, notes.found())
    raise BrokenImageError(
        f"The JPEG has more than {MAX_SEGMENTS} segments before its pixels. Encode it again."
    )


def _frame(segment: bytes) -> bytes:
    """Return a frame's segment without what it has behind four components: libjpeg refuses one of another length."""
    if len(segment) <= _FRAME_BYTES:
        return segment
    return segment[:2] + (_FRAME_BYTES - 2).to_bytes(2) + segment[4:_FRAME_BYTES]
