"""The image of a measurement: a file of the user, or a photograph of ours at a size of the user's, as JPEG."""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from service.errors import ConfigurationError

PHOTOGRAPH = Path(__file__).parents[1] / "playground" / "samples" / "cup.jpg"
QUALITY = 90
GRAIN = 6.0
"""Standard deviation, in 1/255, of the noise on an enlarged photograph: a smooth image would decode too fast."""
MOST_SIDE = 16_384
MOST_PIXELS = 64_000_000
MOST_BYTES = 256 * 2**20
_SIZE = re.compile(r"(\d{1,6})\s*[x×X]\s*(\d{1,6})")


@dataclass(frozen=True, slots=True)
class SampleImage:
    """An encoded image, and what it is called."""

    title: str
    content: bytes


def sample_image(wanted: str) -> SampleImage:
    """Return the image for `640x480`, width by height in pixels, or for the path of a file.

    Raises:
        ConfigurationError: it is neither, or too large.
    """
    if found := _SIZE.fullmatch(wanted.strip()):
        return photograph(int(found[1]), int(found[2]))
    path = Path(wanted)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigurationError(f"The image {wanted} has more than {MOST_BYTES >> 20} MiB.")
        return SampleImage(path.name, path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise ConfigurationError(
            f"The image {wanted!r} is neither a size such as 640x480 nor a file that can be read ({reason})."
        ) from error


def photograph(width: int, height: int) -> SampleImage:
    """Return our photograph, cut and resized to this size in pixels.

    Raises:
        ConfigurationError: a side is 0, or the image would be too large.
    """
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE) or width * height > MOST_PIXELS:
        raise ConfigurationError(
            f"An image of {width}×{height} pixels can not be made. Give sides of 1 to {MOST_SIDE:,} and at most "
            f"{MOST_PIXELS:,} pixels."
        )
    with Image.open(PHOTOGRAPH) as image:
        enlarged = width > image.width or height > image.height
        fitted = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BICUBIC)
    if enlarged:
        fitted = _with_grain(fitted)
    stream = BytesIO()
    fitted.save(stream, "JPEG", quality=QUALITY)
    return SampleImage(f"{width}×{height} JPEG", stream.getvalue())


def _with_grain(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    grain = np.random.default_rng(7).standard_normal(pixels.shape[:2], np.float32) * GRAIN
    return Image.fromarray(np.clip(pixels + grain[:, :, None], 0, 255).astype(np.uint8))
