"""Which files of a folder are images."""

from collections.abc import Iterator
from pathlib import Path

from service.errors import LabelsError
from service.labeled.files_below import Unreadable, files_below

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff"),
        *(".gif", ".avif", ".avifs"),
    }
)
"""The endings of the formats that are read."""


def image_files(folder: Path) -> list[Path]:
    """Return the paths of the images in a folder and its subfolders, in the order of their names.

    Files and folders whose name begins with a dot are no images of the user: macOS and notebooks put copies there.
    Links to folders are followed.

    Raises:
        LabelsError: a folder can not be listed.
    """
    return sorted(_images_below(folder))


def has_images(folder: Path) -> bool:
    """Return whether an image is in a folder or its subfolders, by its ending.

    Raises:
        LabelsError: a folder can not be listed.
    """
    return next(_images_below(folder), None) is not None


def _images_below(folder: Path) -> Iterator[Path]:
    for found in files_below(folder):
        if isinstance(found, Unreadable):
            raise LabelsError(f"{found.path}: the folder can not be listed: {found.reason}")
        if found.suffix.lower() in SUFFIXES and found.is_file():
            yield found
