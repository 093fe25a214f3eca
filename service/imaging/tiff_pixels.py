"""A TIFF's page → its pixels, all of them, or the words that they are made of."""

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from service.imaging import tiff
from service.imaging.depth import Samples
from service.imaging.tiff_strips import check_strips


def load_tiff(file: TiffImageFile, body: bytes, samples: Samples | None) -> Image.Image:
    """Return the page, or its planes, one below the other.

    Raises:
        BrokenImageError: a strip is damaged, or lacks pixels.
        OSError: Pillow can not decode it.
    """
    if samples is None or samples.planes == 1:
        _load_page(file, body, samples)
        return file
    width, height = file.size
    tall = Image.new(file.mode, (width, samples.planes * height))
    for plane in range(samples.planes):
        file.seek(plane)
        _load_page(file, body, samples)
        tall.paste(file, (0, plane * height))
    return tall


def _load_page(file: TiffImageFile, body: bytes, samples: Samples | None) -> None:
    if samples is not None:
        tiff.with_native_words(file)
    check_strips(file, body)
    file.load()
