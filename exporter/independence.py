"""An image's answer must not depend on the other images of its batch: a service fills a batch with anybody's images."""

from collections.abc import Callable

import numpy as np

from exporter.errors import ProofError
from exporter.network import Array, Comparison, Outputs

MOST_SAMPLES = 4
SAME = 1e-2
"""A probability or score may differ by this between one batch size and another, which may run other kernels."""


def require_independence(
    run: Callable[[Array], Outputs],
    comparison: Comparison,
    inputs: Array,
    max_batch: int | None,
    unit: str,
) -> None:
    """Compare some samples alone with the same samples in one batch of different ones.

    The batch ends with the inverse of the first sample, so that its samples differ even where all given ones are the
    same.

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
    together = {
        name: value[:count] for name, value in run(np.concatenate([samples, inverse])).items()
    }
    parts = [run(samples[index : index + 1]) for index in range(count)]
    alone = {name: np.concatenate([part[name] for part in parts]) for name in together}
    difference = comparison.result_difference(together, alone)
    if not difference <= SAME:
        raise ProofError(
            f"The answer for one of the {unit} depends on the others of its batch: alone and in a batch of {count + 1} "
            f"different {unit} it differs by {difference:.2g} in probability or score. Does the network take a mean, "
            "a softmax or a normalization over the first axis? Take it over the classes (axis 1). If it is meant for "
            "one image at a time, export it to ONNX with a fixed batch of 1"
        )
