"""Arrays as files of NumPy's own format, which `numpy.load` reads."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.imaging.overlay import RenderedImage
from service.media_types import FLOATS


def npy(values: NDArray[Any]) -> RenderedImage:
    """Return an array as the bytes of an `.npy` file, version 1.0, in C order."""
    file = BytesIO()
    np.lib.format.write_array(
        file, np.ascontiguousarray(values), version=(1, 0), allow_pickle=False
    )
    return RenderedImage(file.getvalue(), FLOATS, values.shape)


def npy_url(values: NDArray[Any]) -> str:
    """Return the same file as a `data:` URL."""
    return f"data:{FLOATS};base64,{base64.b64encode(npy(values).content).decode()}"
