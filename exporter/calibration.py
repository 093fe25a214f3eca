"""Statistics of a graph on real images: the range of each tensor, and mean and covariance of each layer's inputs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from exporter.graph import attribute, with_outputs
from exporter.network import Array
from exporter.ranges import RangeRule, narrowed
from exporter.rounding import Floats
from exporter.sessions import optimized_session
from service.card import INPUT_NAME

PLACES = 192
"""The number of places in each image, drawn at random, from which a layer's statistics are taken."""

SAMPLES = 1024
"""The number of values of each tensor, drawn at random from each image, from which its narrowed range is found."""

WIDEST = 8192
"""The largest number of inputs for which moments are kept: a larger covariance would fill the memory."""


@dataclass(slots=True)
class Moments:
    """Sums of a layer's inputs (groups, inputs) and of their products (groups, inputs, inputs) over `count` places."""

    count: int
    first: Floats
    second: Floats

    @property
    def mean(self) -> Floats:
        """Return (groups, inputs)."""
        return self.first / self.count

    @property
    def covariance(self) -> Floats:
        """Return (groups, inputs, inputs)."""
        return self.uncentered - self.mean[:, :, None] * self.mean[:, None]

    @property
    def uncentered(self) -> Floats:
        """Return the mean of the products (groups, inputs, inputs)."""
        return self.second / self.count


@dataclass(frozen=True, slots=True)
class Calibration:
    """The ranges by tensor, lowest and highest value, the moments by the name of the weights, and samples by tensor."""

    ranges: dict[str, tuple[float, float]]
    moments: dict[str, Moments]
    samples: dict[str, NDArray[np.float32]]


def calibrate(
    model: onnx.ModelProto,
    frames: Iterable[NDArray[np.uint8]],
    tensors: Sequence[str],
    layers: Sequence[onnx.NodeProto],
    places: int = PLACES,
) -> Calibration:
    """Run the frames one by one and record the tensors' ranges and samples, and the layers' moments.

    Args:
        model: the graph.
        frames: uint8 (H, W, 3) each.
        tensors: the tensors whose ranges are recorded; every range contains 0.
        layers: nodes with weights; those that do not multiply inputs with constants are left out.
        places: how many places of each frame count for the moments.
    """
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    layers = [layer for layer in layers if _is_plain(layer, weights)]
    names = sorted({*tensors, *(layer.input[0] for layer in layers)})
    session = optimized_session(with_outputs(model, names))
    rng = np.random.default_rng(0)
    ranges: dict[str, tuple[float, float]] = {}
    moments: dict[str, Moments] = {}
    samples: dict[str, list[NDArray[np.float32]]] = {name: [] for name in tensors}
    for frame in frames:
        values = dict(zip(names, session.run(names, {INPUT_NAME: frame[None]}), strict=True))
        for name in tensors:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(values[name].min())), max(high, float(values[name].max()))
            drawn = rng.integers(0, values[name].size, min(SAMPLES, values[name].size))
            samples[name].append(values[name].reshape(-1)[drawn].astype(np.float32))
        for layer in layers:
            windows = _windows(layer, values[layer.input[0]], weights[layer.input[1]], places, rng)
            _add(moments, layer.input[1], windows)
    every = {name: np.concatenate(parts) for name, parts in samples.items() if parts}
    return Calibration(ranges, moments, every)


def with_ranges(calibration: Calibration, rule: RangeRule) -> Calibration:
    """Return the calibration with the ranges that a rule finds."""
    ranges = {
        name: narrowed(rule, full, calibration.samples[name])
        for name, full in calibration.ranges.items()
    }
    return replace(calibration, ranges=ranges)


def by_group(node: onnx.NodeProto, weight: Array) -> Array:
    """Return a layer's weights as (groups, outputs, inputs)."""
    if node.op_type == "Conv":
        groups = int(str(attribute(node, "group", 1)))
        return weight.reshape(groups, len(weight) // groups, -1)
    outputs_first: Array = weight if attribute(node, "transB", 0) else weight.T
    return outputs_first[None]


def as_layer(node: onnx.NodeProto, grouped: Array, weight: Array) -> Array:
    """Return weights (groups, outputs, inputs) in the layer's own shape, that of `weight`."""
    if node.op_type == "Conv":
        return grouped.reshape(weight.shape)
    outputs_first: Array = grouped[0]
    return outputs_first if attribute(node, "transB", 0) else outputs_first.T


def _is_plain(node: onnx.NodeProto, weights: dict[str, Array]) -> bool:
    """Return whether the layer multiplies windows of one tensor with constant weights."""
    weight = weights.get(node.input[1])
    if weight is None or weight.ndim != (4 if node.op_type == "Conv" else 2):
        return False
    known = node.op_type in {"Conv", "Gemm", "MatMul"} and not attribute(node, "transA", 0)
    return known and by_group(node, weight).shape[2] <= WIDEST


def _add(moments: dict[str, Moments], name: str, windows: Array) -> None:
    exact = windows.astype(np.float32)
    first = exact.sum(axis=1, dtype=np.float64)
    second = (exact.transpose(0, 2, 1) @ exact).astype(np.float64)
    if name in moments:
        known = moments[name]
        known.count += exact.shape[1]
        known.first += first
        known.second += second
    else:
        moments[name] = Moments(exact.shape[1], first, second)


def _windows(
    node: onnx.NodeProto, values: Array, weight: Array, places: int, rng: np.random.Generator
) -> Array:
    """Return the values that a layer's weights are multiplied with at random places: (groups, places, inputs)."""
    if node.op_type != "Conv":
        rows = values.reshape(1, -1, values.shape[-1])
        return rows[:, rng.permutation(rows.shape[1])[:places]]
    sides: list[Array] = []
    counts: list[int] = []
    pads = list(_pads(node, values, weight))
    padded = np.pad(values[0], ((0, 0), *pads))
    for axis, kernel in enumerate(weight.shape[2:]):
        stride, dilation = (_pair(node, name, 1)[axis] for name in ("strides", "dilations"))
        counts.append((padded.shape[1 + axis] - dilation * (kernel - 1) - 1) // stride + 1)
        sides.append(np.arange(counts[-1])[:, None] * stride + np.arange(kernel) * dilation)
    total = counts[0] * counts[1]
    drawn = rng.choice(total, min(places, total), replace=False)
    rows = sides[0][drawn // counts[1]]
    columns = sides[1][drawn % counts[1]]
    windows: Array = padded[:, rows[:, :, None], columns[:, None, :]]
    groups = len(windows) // weight.shape[1]
    windows = windows.reshape(groups, weight.shape[1], len(drawn), -1)
    return windows.transpose(0, 2, 1, 3).reshape(groups, len(drawn), -1)


def _pads(node: onnx.NodeProto, values: Array, weight: Array) -> Iterator[tuple[int, int]]:
    """Yield the padding before and after each spatial axis."""
    auto = attribute(node, "auto_pad", b"NOTSET")
    fixed = _pair(node, "pads", 0, count=4)
    for axis, kernel in enumerate(weight.shape[2:]):
        if auto not in {b"SAME_UPPER", b"SAME_LOWER"}:
            yield (fixed[axis], fixed[axis + 2]) if auto == b"NOTSET" else (0, 0)
            continue
        stride, dilation = (_pair(node, name, 1)[axis] for name in ("strides", "dilations"))
        side = values.shape[2 + axis]
        short = max(0, (-(-side // stride) - 1) * stride + dilation * (kernel - 1) + 1 - side)
        less, more = short // 2, short - short // 2
        yield (less, more) if auto == b"SAME_UPPER" else (more, less)


def _pair(node: onnx.NodeProto, name: str, default: int, count: int = 2) -> list[int]:
    found = attribute(node, name, None)
    return [int(one) for one in found] if isinstance(found, list) else [default] * count
