"""A TIFF's page → its pixels, all of them, or the words that they are made of."""

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from service.imaging import tiff
from service.imaging.deadline import GoOn, without_end
from service.imaging.depth import Samples
from service.imaging.tiff_strips import check_strips


def load_tiff(
    file: TiffImageFile, body: bytes, samples: Samples | None, go_on: GoOn = without_end
) -> Image.Image:
    """Return the page, or its planes, one below the other; `go_on` is called before each, and between its strips.

    Raises:
        BrokenImageError: a strip is damaged, or lacks pixels.
        OSError: Pillow can not decode it.
    """
    if samples is None or samples.planes == 1:
        _load_page(file, body, samples, go_on)
        return file
    width, height = file.size
    tall = Image.new(file.mode, (width, samples.planes * height))
    for plane in range(samples.planes):
        file.seek(plane)
        _load_page(file, body, samples, go_on)
        tall.paste(file, (0, plane * height))
    return tall


def _load_page(file: TiffImageFile, body: bytes, samples: Samples | None, go_on: GoOn) -> None:
    if samples is not None:
        tiff.with_native_words(file)
    check_strips(file, body, go_on)
    go_on()
    file.load()
