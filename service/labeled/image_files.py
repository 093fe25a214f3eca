"""Which files of a folder are images."""

from collections.abc import Iterator
from pathlib import Path

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
    """
    return sorted(_images_below(folder))


def has_images(folder: Path) -> bool:
    """Return whether an image is in a folder or its subfolders, by its ending."""
    return next(_images_below(folder), None) is not None


def _images_below(folder: Path) -> Iterator[Path]:
    return (
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
