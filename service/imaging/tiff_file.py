"""A TIFF → Pillow's image of it, which leaves alone the directories of EXIF, GPS and others that no pixel needs."""

from io import BytesIO

from PIL.TiffImagePlugin import TiffImageFile
from PIL.TiffTags import TAGS_V2_GROUPS


def open_tiff(body: bytes) -> TiffImageFile:
    """Return Pillow's image of the first page; no pixel is decoded.

    Behind the pixels Pillow would read each directory that a tag of the page names, with all of its values.

    Args:
        body: a file whose first directory has no more tags and values than `directories` allows.

    Raises:
        OSError, SyntaxError, …: Pillow's faults.
    """
    file = TiffImageFile(BytesIO(body))
    tags = file.getexif()
    for tag in TAGS_V2_GROUPS:
        if tag in tags:
            del tags[tag]
    return file
