"""Values that are no numbers: a network that computes them is refused, since NaN agrees with nothing, nor with NaN."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from exporter.errors import ProofError
from exporter.network import Array

_CAUSES = (
    "A batch norm whose variance and eps are 0, the root or logarithm of a negative number, and a division by zero do "
    "this, and so may wrong --mean, --std or --scale. Repair the network, or give images of its own kind with --images"
)

Layers = Callable[[], Iterable[tuple[str, Array]]]
"""Computes the name and the output of each of the source's layers, in order."""


def require_numbers(values: Sequence[Array], what: str, layers: Layers) -> None:
    """Refuse values of which one is NaN or infinite.

    Args:
        values: the outputs for one sample.
        what: whose outputs they are, for which sample; the beginning of the message.
        layers: called for the layer in which the first such value appears.

    Raises:
        ProofError: the message names that layer.
    """
    odd = next((one for one in values if not np.isfinite(one).all()), None)
    if odd is None:
        return
    kind = "NaN" if np.isnan(odd).any() else "infinite"
    count = int((~np.isfinite(odd)).sum())
    raise ProofError(
        f"{what} has {count} of {odd.size} values that are no numbers ({kind}){_first_layer(layers)}. {_CAUSES}"
    )


def _first_layer(layers: Layers) -> str:
    for name, value in layers():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return f"; the first layer that computes one is {name}"
    return ""
