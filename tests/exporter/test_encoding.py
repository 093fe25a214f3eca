"""Arrays as encoded images."""

from io import BytesIO

import numpy as np
from PIL import Image

from exporter.encoding import as_png


def test_a_png_holds_the_very_pixels() -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for pixels in (image, image[..., 0]):
        np.testing.assert_array_equal(Image.open(BytesIO(as_png(pixels))), pixels)
