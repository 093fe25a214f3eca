"""Real images to prove and to calibrate with: the user's own, or scikit-image's photographs."""

from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from itertools import chain, islice
from pathlib import Path

from PIL import Image

from exporter.errors import RecipeError
from service.card import ImageInput
from service.errors import ImageError
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.labeled.image_files import SUFFIXES, image_files

PHOTOGRAPHS = (
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "astronaut.png",
    "motorcycle_left.png",
    "camera.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "ihc.png",
    "grass.png",
    "brick.png",
    "gravel.png",
    "moon.png",
)
"""Photographs in scikit-image's wheel; those with a clear object come first."""

PHOTOGRAPHS_NAME = "scikit-image's photographs and quarters of them, as JPEG"
NO_IMAGE = f"there is no image in this folder, no file that ends in {', '.join(sorted(SUFFIXES))}"
JPEG_QUALITY = 92
THUMBNAIL = ImageInput(height=32, width=32, resize="stretch")
"""To see that an image can be read costs little at this size: a JPEG is decoded at a reduced scale."""


def images_in(folder: Path, limit: int) -> tuple[bytes, ...]:
    """Return the encoded images in a folder and its subfolders, in the order of their names, at most `limit`.

    Raises:
        RecipeError: there is no such folder or no image in it, or an image can not be read; the message names it.
    """
    files = image_files(require_folder("--images", folder))
    if not files:
        raise RecipeError(f"--images {folder}: {NO_IMAGE}")
    return tuple(_readable(file) for file in files[:limit])


def require_folder(option: str, folder: Path) -> Path:
    """Return the folder that an option names.

    Raises:
        RecipeError: there is none.
    """
    if not folder.is_dir():
        what = "this is a file, not a folder" if folder.exists() else "there is no such folder"
        raise RecipeError(f"{option} {folder}: {what}")
    return folder


def _readable(file: Path) -> bytes:
    try:
        body = file.read_bytes()
        if not body:
            raise RecipeError(
                f"--images: {file.name} can not be proved with: the file is empty. Remove it from the folder, or "
                "replace it"
            )
        fit_encoded(body, THUMBNAIL, Limits())
    except (OSError, ImageError) as error:
        raise RecipeError(
            f"--images: {file.name} can not be proved with: {error} Remove it from the folder, or replace it"
        ) from error
    return body


def photographs(limit: int) -> tuple[bytes, ...]:
    """Return scikit-image's photographs as JPEG: first all of them whole, then all their first quarters, and so on.

    Their number is even. So the views with odd indices show other photographs than those with even indices.

    Raises:
        RecipeError: scikit-image is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise RecipeError(
            "No images to prove with: give a folder by --images, or pip install scikit-image"
        )
    folder = Path(spec.origin).parent / "data"
    files = [folder / name for name in PHOTOGRAPHS if (folder / name).exists()]
    files = files[: len(files) // 2 * 2]
    found = [Image.open(file).convert("RGB") for file in files[:limit]]
    views = chain(found, chain.from_iterable(zip(*map(_quarters, found), strict=True)))
    return tuple(_as_jpeg(view) for view in islice(views, limit))


def _quarters(image: Image.Image) -> Iterator[Image.Image]:
    """Yield four corners, each 60 % of the width and of the height."""
    width, height = image.width * 3 // 5, image.height * 3 // 5
    for left in (0, image.width - width):
        for top in (0, image.height - height):
            yield image.crop((left, top, left + width, top + height))


def _as_jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
