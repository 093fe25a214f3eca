"""Images of one color, which a camera with its cap on gives: some networks have no number for them."""

from collections.abc import Callable

import numpy as np

from exporter.errors import GraphError
from exporter.network import Array, Outputs
from exporter.progress import Progress

COLORS = {"black": 0, "white": 255, "gray": 128}


def warn_of_one_color(run: Callable[[Array], Outputs], inputs: Array, progress: Progress) -> None:
    """Warn where the graph's outputs for an image of one color are not finite; other inputs than images are left alone.

    Args:
        run: the graph, for a batch of one.
        inputs: images, uint8 (N, H, W, 3).
        progress: gets the warning.

    Raises:
        GraphError: the graph does not run on a black image.
    """
    if inputs.dtype != np.uint8:
        return
    black = np.zeros_like(inputs[:1])
    try:
        run(black)
    except GraphError as error:
        raise GraphError(
            f"On a black image, with which the service checks a model, it fails: {error}"
        ) from error
    odd = [name for name, value in COLORS.items() if not _has_answer(run, black + np.uint8(value))]
    if odd:
        progress.warn(
            f"an image that is {' or '.join(odd)} all over gets no answer: the network computes values for it that are "
            "not finite (NaN or infinite), and the service answers 500 inference_failed. Other images are not "
            "concerned. A division by the image's own largest value or deviation does this: add a small number to the "
            "divisor, as in x / (x.max() + 1e-6), and export the network again"
        )


def _has_answer(run: Callable[[Array], Outputs], image: Array) -> bool:
    try:
        return all(np.isfinite(value).all() for value in run(image).values())
    except GraphError:
        return False
