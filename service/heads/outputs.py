"""The outputs of a network for one image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InferenceError

Outputs = Mapping[str, NDArray[Any]]
"""One image's outputs by name, without the batch axis."""


def require_finite(values: NDArray[Any], name: str) -> None:
    """Raise where an output holds NaN or infinity: JSON has no such number.

    Raises:
        InferenceError: it does.
    """
    if not np.isfinite(values).all():
        raise InferenceError(f"The network's {name} are not finite numbers on this image.")
