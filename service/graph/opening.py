"""The opening of a network: its first convolution, and the activation and the pooling that follow it."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from service.graph.activations import Activation, find_activation
from service.graph.window import Window, window_of
from service.graph.wiring import PASSING, Array, Wiring, attribute

PoolKind = Literal["max", "average"]


@dataclass(frozen=True, slots=True)
class Pooling:
    """The largest value of each window, or its mean; `counts_padding`: padding counts as zeros in the mean."""

    kind: PoolKind
    window: Window
    counts_padding: bool
    tensor: str


Step = Activation | Pooling


@dataclass(frozen=True, slots=True)
class Opening:
    """A first convolution with what belongs to it.

    Args:
        input: the tensor that it reads, (N, C, H, W): the image after the network's own preprocessing.
        output: the tensor of its sums, (N, F, h, w), after a batch normalization that follows it.
        weights: float32 (F, C / groups, h, w), the normalization folded in.
        bias: float32 (F,), the same.
        window: how it slides.
        groups: of the input's channels; a filter reads those of one group.
        steps: at most one activation and one pooling, in the graph's order.
    """

    input: str
    output: str
    weights: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    window: Window
    groups: int
    steps: tuple[Step, ...]

    @property
    def tensors(self) -> list[str]:
        """The tensors of each step, from the input on."""
        return [self.input, self.output, *(step.tensor for step in self.steps)]

    def channels_of(self, index: int) -> slice:
        """Return the channels of the input that a filter reads."""
        count, width = self.weights.shape[:2]
        start = index // (count // self.groups) * width
        return slice(start, start + width)


def find_opening(wiring: Wiring) -> Opening | None:
    """Return the opening of a network, None where no two-dimensional convolution with known weights reads the image."""
    for node, inputs in wiring.dependent_nodes():
        if node.op_type == "Conv" and node.input[0] in inputs:
            found = _opening(wiring, node)
            if found is not None:
                return found
    return None


def _opening(wiring: Wiring, node: NodeProto) -> Opening | None:
    weights = wiring.constant(node.input[1])
    bias = wiring.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if weights is None or bias is None or weights.ndim != 4:
        return None
    window = window_of(node, weights.shape[2:])
    if window is None:
        return None
    tensor, scale, shift = _normalized(wiring, node.output[0], len(weights))
    folded = weights.astype(np.float64) * scale[:, None, None, None]
    return Opening(
        input=node.input[0],
        output=tensor,
        weights=folded.astype(np.float32),
        bias=(bias.astype(np.float64).ravel() * scale + shift).astype(np.float32),
        window=window,
        groups=int(attribute(node, "group", 1)),
        steps=_steps(wiring, tensor),
    )


def _steps(wiring: Wiring, tensor: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    for _ in range(2):
        tensor = _passed(wiring, tensor)
        found: Step | None = None
        if not any(isinstance(step, Activation) for step in steps):
            found = find_activation(wiring, tensor)
        if found is None and not any(isinstance(step, Pooling) for step in steps):
            found = _pooling(wiring, tensor)
        if found is None:
            break
        steps.append(found)
        tensor = found.tensor
    return tuple(steps)


def _pooling(wiring: Wiring, tensor: str) -> Pooling | None:
    for node in wiring.readers(tensor):
        if node.op_type in {"MaxPool", "AveragePool"}:
            window = window_of(node, attribute(node, "kernel_shape", ()))
            if window is not None:
                kind: PoolKind = "max" if node.op_type == "MaxPool" else "average"
                counted = bool(attribute(node, "count_include_pad", 0))
                return Pooling(kind, window, counted, node.output[0])
    return None


def _passed(wiring: Wiring, tensor: str) -> str:
    """Return the last of the copies that the graph makes of a tensor."""
    while len(readers := wiring.readers(tensor)) == 1 and readers[0].op_type in PASSING:
        tensor = readers[0].output[0]
    return tensor


def _normalized(
    wiring: Wiring, tensor: str, filters: int
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Return the tensor after the products and sums with constants that follow, and their scale and shift (F,)."""
    scale, shift = np.ones(filters), np.zeros(filters)
    while len(readers := wiring.readers(after := _passed(wiring, tensor))) == 1:
        step = _affine(wiring, readers[0], after, filters)
        if step is None:
            break
        scale, shift = scale * step[0], shift * step[0] + step[1]
        tensor = readers[0].output[0]
    return tensor, scale, shift


def _affine(
    wiring: Wiring, node: NodeProto, tensor: str, filters: int
) -> tuple[Array | float, Array | float] | None:
    """Return what a node multiplies and then adds for each filter, None where it does anything else."""
    if node.op_type == "BatchNormalization":
        return _batch_norm(wiring, node)
    if node.op_type not in {"Mul", "Add", "Sub"} or (
        node.op_type == "Sub" and node.input[0] != tensor
    ):
        return None
    others = [name for name in node.input if name != tensor]
    constant = wiring.constant(others[0]) if len(others) == 1 else None
    if constant is None or not _is_per_filter(constant, filters):
        return None
    values = constant.astype(np.float64).ravel()
    if node.op_type == "Mul":
        return values, 0.0
    return 1.0, values if node.op_type == "Add" else -values


def _is_per_filter(constant: Array, filters: int) -> bool:
    return constant.size == 1 or (
        constant.size == filters and constant.ndim >= 3 and constant.shape[-3] == filters
    )


def _batch_norm(wiring: Wiring, node: NodeProto) -> tuple[Array, Array] | None:
    if attribute(node, "training_mode", 0):
        return None
    found = [wiring.constant(name) for name in node.input[1:5]]
    gain, offset, mean, variance = (
        None if one is None else one.astype(np.float64) for one in found
    )
    if gain is None or offset is None or mean is None or variance is None:
        return None
    scale = gain / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, offset - mean * scale
