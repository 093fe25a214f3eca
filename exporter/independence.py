"""An image's answer must not depend on the other images of its batch: a service fills a batch with anybody's images."""

from collections.abc import Callable

import numpy as np

from exporter.backbone import FEATURES
from exporter.errors import ProofError
from exporter.heads.metrics import relative_difference
from exporter.network import Array, Comparison, Outputs

MOST_SAMPLES = 4
SAME = 1e-2
"""A probability or score may differ by this between one batch size and another, which may run other kernels."""

SAME_OF_CHANGED = 0.05
"""The same for images that were changed, and for their features: a network may amplify rounding in a dark image."""

Run = Callable[[Array], Outputs]
Difference = Callable[[Outputs, Outputs], float]


def require_independence(
    run: Run, comparison: Comparison, inputs: Array, max_batch: int | None, unit: str
) -> None:
    """Compare some samples alone with the same samples in one batch of different ones.

    One batch ends with the inverse of the first sample, so that its samples differ even where all given ones are the
    same. Another has an image beside very dark, very bright, gray, black and white ones: a network that brightens dark
    images may look at the mean of all. There the features are compared too, since a class may be as clear in both.

    Args:
        run: the graph.
        comparison: how the results of the task are compared.
        inputs: the samples; the first axis counts them.
        max_batch: the largest batch of the servable; None for any.
        unit: what a sample is, in the plural.

    Raises:
        ProofError: the results differ.
    """
    count = min(MOST_SAMPLES, len(inputs), (max_batch or MOST_SAMPLES + 1) - 1)
    if count < 1:
        return
    samples = inputs[:count]
    first = samples[:1]
    inverse = np.invert(first) if first.dtype.kind == "u" else -first
    _require_same(run, comparison.result_difference, samples, inverse, unit, allowed=SAME)
    if first.dtype == np.uint8:

        def difference(together: Outputs, alone: Outputs) -> float:
            results = comparison.result_difference(together, alone)
            if FEATURES not in together:
                return results
            return max(results, relative_difference(together[FEATURES], alone[FEATURES]))

        changed, plain = _changed(first), _of_one_color(first)
        _require_same(run, difference, changed, plain, unit, allowed=SAME_OF_CHANGED)


def _changed(image: Array) -> Array:
    """Return an image (1, H, W, 3) as it is, very dark, very bright, and gray."""
    gray = np.broadcast_to(image.mean(axis=3, keepdims=True), image.shape).astype(np.uint8)
    return np.concatenate([image, image // 8, 255 - image // 8, gray])


def _of_one_color(image: Array) -> Array:
    """Return a black and a white image, of the shape of another."""
    return np.concatenate([np.zeros_like(image), np.full_like(image, 255)])


def _require_same(
    run: Run, difference: Difference, judged: Array, others: Array, unit: str, *, allowed: float
) -> None:
    """Compare samples alone with the same beside others; one without a finite answer alone is left out.

    Raises:
        ProofError: they differ by more than is allowed.
    """
    batch = np.concatenate([judged, others])
    parts = [run(batch[index : index + 1]) for index in range(len(judged))]
    kept = [index for index, part in enumerate(parts) if _is_finite(part)]
    if not kept:
        return
    together = {name: value[kept] for name, value in run(batch).items()}
    alone = {name: np.concatenate([parts[index][name] for index in kept]) for name in together}
    apart = difference(together, alone)
    if not apart <= allowed:
        raise ProofError(
            f"The answer for one of the {unit} depends on the others of its batch: alone and in a batch of "
            f"{len(batch)} different {unit} it differs by {apart:.2g} in probability, score or features. Does the "
            "network take a mean, a softmax or a normalization over the first axis? Take it over the classes (axis 1), "
            "or for each image by itself. If it is meant for one image at a time, give --largest-batch 1: the "
            "servable then computes so"
        )


def _is_finite(outputs: Outputs) -> bool:
    return all(np.isfinite(value).all() for value in outputs.values())
