"""The outputs of a network for one image."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]
"""One image's outputs by name, without the batch axis."""
