"""The receptive field of a feature map: how much of the image one of its positions depends on, computed from the graph.

The sizes are computed as in Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks",
Distill 2019. The effective size follows Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional
Neural Networks", NeurIPS 2016: a stack of convolutions with equal weights spreads like a sum of independent uniform
steps, so the variances of its layers add up.

The location of a receptive field is not computed: docs/decisions/0007 says why.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import sqrt

from onnx import NodeProto

from service.graph.wiring import Wiring, attribute, reduced_axes

_WINDOWED = frozenset({"Conv", "MaxPool", "AveragePool", "LpPool", "ConvInteger", "QLinearConv"})
_UPSAMPLING = frozenset({"Resize", "Upsample", "ConvTranspose", "DepthToSpace"})
_GLOBAL = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_HALF_HEIGHT = 2.355
"""Standard deviations between the two points where a normal distribution has half its height."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """A receptive field along one axis, in pixels of the frame: its size, the step between positions, the variance.

    `step` is None after an upsampling, whose factor is not read. A branch of known step that is merged with this one
    has positions at the same step, so the merged branch takes it from there.
    """

    size: float = 1.0
    step: float | None = 1.0
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class _Field:
    """The receptive field of a tensor.

    `whole`: every position depends on the whole image. `placed` is False for a tensor without positions, such as a
    pooled vector.
    """

    down: _Axis = _Axis()
    across: _Axis = _Axis()
    whole: bool = False
    placed: bool = True


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The part of the image that one position of a map depends on, (down, across) in pixels of the network's frame.

    `size` is the whole of it, None where attention or a gate makes it the whole image. `effective` is the part with
    most of the weight: the full width at half maximum of the weights that a position gives to its pixels.
    """

    size: tuple[float, float] | None
    effective: tuple[float, float]


def receptive_fields(wiring: Wiring, tensors: Iterable[str]) -> dict[str, ReceptiveField]:
    """Return the receptive field of each of the tensors that depends on the image."""
    fields = {wiring.input_name: _Field()}
    for node, inputs in wiring.dependent_nodes():
        field = _after(node, [fields[name] for name in inputs], wiring)
        fields.update(dict.fromkeys((name for name in node.output if name), field))
    return {name: _described(fields[name]) for name in tensors if name in fields}


def _after(node: NodeProto, inputs: list[_Field], wiring: Wiring) -> _Field:
    """Return the field of a node's output from those of its inputs."""
    kind = node.op_type
    if kind in _WINDOWED:
        return _windowed(node, inputs[0], wiring)
    if kind in _UPSAMPLING:
        field = inputs[0]
        return replace(
            field, down=replace(field.down, step=None), across=replace(field.across, step=None)
        )
    if kind in _GLOBAL or (kind == "MatMul" and len(inputs) == 2):
        return _Field(whole=True, placed=False)
    if kind.startswith("Reduce") and _pools_positions(node, wiring):
        return _Field(whole=True, placed=False)
    return _merged(inputs)


def _pools_positions(node: NodeProto, wiring: Wiring) -> bool:
    return reduced_axes(wiring, node) in (None, {2, 3}, {-1, -2}, {1, 2}, {-2, -3})


def _windowed(node: NodeProto, field: _Field, wiring: Wiring) -> _Field:
    kernel = attribute(node, "kernel_shape", None)
    if kernel is None:
        place = 3 if node.op_type == "QLinearConv" else 1
        weights = wiring.constant(node.input[place]) if len(node.input) > place else None
        kernel = weights.shape[2:] if weights is not None else ()
    if len(kernel) != 2:
        return field
    strides = attribute(node, "strides", (1, 1))
    dilations = attribute(node, "dilations", (1, 1))
    axes = [
        _step(axis, int(size), int(stride), int(dilation))
        for axis, size, stride, dilation in zip(
            (field.down, field.across), kernel, strides, dilations, strict=True
        )
    ]
    return replace(field, down=axes[0], across=axes[1])


def _step(axis: _Axis, size: int, stride: int, dilation: int) -> _Axis:
    # After an upsampling the step is not known; decoders end near the size of the image, so 1 pixel is assumed.
    step = axis.step if axis.step is not None else 1.0
    return _Axis(
        size=axis.size + (size - 1) * dilation * step,
        step=axis.step * stride if axis.step is not None else None,
        variance=axis.variance + (step * dilation) ** 2 * (size**2 - 1) / 12,
    )


def _merged(inputs: list[_Field]) -> _Field:
    """Return the field of a node that combines branches: the largest size, and the mean variance."""
    placed = [field for field in inputs if field.placed]
    whole = any(field.whole for field in inputs)
    if not placed:
        return _Field(whole=whole, placed=False)
    return _Field(
        _merged_axis([field.down for field in placed]),
        _merged_axis([field.across for field in placed]),
        whole=whole,
    )


def _merged_axis(axes: list[_Axis]) -> _Axis:
    return _Axis(
        size=max(axis.size for axis in axes),
        step=next((axis.step for axis in axes if axis.step is not None), None),
        variance=sum(axis.variance for axis in axes) / len(axes),
    )


def _described(field: _Field) -> ReceptiveField:
    down, across = field.down, field.across
    size = None if field.whole else (down.size, across.size)
    return ReceptiveField(size, (_effective(down), _effective(across)))


def _effective(axis: _Axis) -> float:
    return max(1.0, min(axis.size, _HALF_HEIGHT * sqrt(axis.variance)))
