"""Real images to prove and to calibrate with: the user's own, or scikit-image's photographs."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from io import BytesIO
from itertools import chain, islice
from pathlib import Path

from PIL import Image

from exporter.errors import RecipeError
from exporter.named_option import naming_option
from exporter.network import Network
from exporter.recipe import Recipe
from service.card import ImageInput
from service.errors import EmptyImageError, ImageError
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
NAMED = 10
"""So many files that can not be read are named."""
MOST_UNREADABLE = 100
"""After so many files that can not be read no more are looked at."""
THUMBNAIL = ImageInput(height=32, width=32, resize="stretch")
"""To see that an image can be read costs little at this size: a JPEG is decoded at a reduced scale."""


def images_in(folder: Path, limit: int) -> tuple[bytes, ...]:
    """Return the encoded images in a folder and its subfolders, in the order of their names, at most `limit`.

    Files that can not be read are named all at once: others are read in their place, since these come next.

    Raises:
        RecipeError: there is no such folder or no image in it, or images can not be read; the message names them.
    """
    with naming_option("--images"):
        files = image_files(require_folder("--images", folder))
    if not files:
        raise RecipeError(f"--images {folder}: {NO_IMAGE}")
    bodies: list[bytes] = []
    unreadable: dict[str, str] = {}
    for file in files:
        if len(bodies) == limit or len(unreadable) == MOST_UNREADABLE:
            break
        try:
            bodies.append(_readable(file))
        except (OSError, ImageError) as error:
            unreadable[file.relative_to(folder).as_posix()] = str(error)
    if unreadable:
        raise _unreadable_error(unreadable)
    return tuple(bodies)


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
    """Return the bytes of an image.

    Raises:
        OSError: the file can not be read.
        ImageError: it is no image that the service reads.
    """
    body = file.read_bytes()
    if not body:
        raise EmptyImageError("the file is empty.")
    fit_encoded(body, THUMBNAIL, Limits())
    return body


def _unreadable_error(why: Mapping[str, str]) -> RecipeError:
    """Return the error that names the files which can not be read, the first of them with the reason."""
    if len(why) == 1:
        [(name, reason)] = why.items()
        return RecipeError(
            f"--images: {name} can not be proved with: {reason} Remove it from the folder, or replace it"
        )
    count = f"{'at least ' if len(why) == MOST_UNREADABLE else ''}{len(why)} files"
    named = [f"  {name}: {reason}" for name, reason in islice(why.items(), NAMED)]
    left = [f"  and {len(why) - NAMED} more"] if len(why) > NAMED else []
    lines = "\n".join([*named, *left])
    return RecipeError(
        f"--images: {count} can not be proved with. Remove them from the folder, or replace them:\n{lines}"
    )


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


def images_for(recipe: Recipe, network: Network) -> tuple[bytes, ...]:
    """Return the encoded images to prove with: the recipe's, the source's own, or scikit-image's."""
    if recipe.proof.images is not None:
        return images_in(recipe.folder / recipe.proof.images, recipe.proof.limit)
    return network.proof or photographs(recipe.proof.limit)
