"""How much of an image can reach one place of a feature map, followed through the graph without running it.

The arithmetic of sizes is that of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019. Which part of it matters follows Luo et al., "Understanding the Effective Receptive
Field in Deep Convolutional Neural Networks", NeurIPS 2016: with equal weights a stack of convolutions spreads what it
sees like a sum of independent uniform steps, whose variances add up.

Where a place lies is not followed: docs/decisions/0007 says why.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import sqrt

from onnx import NodeProto

from service.graph.wiring import Wiring, attribute

_WINDOWED = frozenset({"Conv", "MaxPool", "AveragePool", "LpPool", "ConvInteger", "QLinearConv"})
_UPSAMPLING = frozenset({"Resize", "Upsample", "ConvTranspose", "DepthToSpace"})
_GLOBAL = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_HALF_HEIGHT = 2.355
"""Standard deviations between the two points where a normal distribution has half its height."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """Along one axis, in pixels of the frame: the field's size, the step from place to place, the spread.

    `step` is None where an enlargement hides it; a branch beside it, which has the same places, tells it.
    """

    size: float = 1.0
    step: float | None = 1.0
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class _Field:
    down: _Axis = _Axis()
    across: _Axis = _Axis()
    whole: bool = False
    placed: bool = True


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What one place of a map sees, (down, across) in pixels of the network's frame.

    `size` is all that can reach it, None where attention or a gate lets the whole image in. `effective` is the part
    that matters: the width at half height of what a place weighs its pixels with.
    """

    size: tuple[float, float] | None
    effective: tuple[float, float]


def receptive_fields(wiring: Wiring, tensors: Iterable[str]) -> dict[str, ReceptiveField]:
    """Return the receptive field of each of the tensors that depends on the image."""
    fields = {wiring.entry: _Field()}
    for node, given in wiring.derived():
        field = _through(node, [fields[name] for name in given], wiring)
        fields.update(dict.fromkeys((name for name in node.output if name), field))
    return {name: _described(fields[name]) for name in tensors if name in fields}


def _through(node: NodeProto, given: list[_Field], wiring: Wiring) -> _Field:
    kind = node.op_type
    if kind in _WINDOWED:
        return _windowed(node, given[0], wiring)
    if kind in _UPSAMPLING:
        field = given[0]
        return replace(
            field, down=replace(field.down, step=None), across=replace(field.across, step=None)
        )
    if kind in _GLOBAL or (kind == "MatMul" and len(given) == 2):
        return _Field(whole=True, placed=False)
    if kind.startswith("Reduce") and _reduces_places(node, wiring):
        return _Field(whole=True, placed=False)
    return _merged(given)


def _reduces_places(node: NodeProto, wiring: Wiring) -> bool:
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1:
        axes = wiring.constant(node.input[1])
    if axes is None:
        return True
    return {int(axis) for axis in axes} in ({2, 3}, {-1, -2}, {1, 2}, {-2, -3})


def _windowed(node: NodeProto, field: _Field, wiring: Wiring) -> _Field:
    kernel = attribute(node, "kernel_shape", None)
    if kernel is None:
        weights = wiring.constant(node.input[1]) if len(node.input) > 1 else None
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
    # An enlarged branch whose step is hidden is near pixel size again when it is met.
    step = axis.step if axis.step is not None else 1.0
    return _Axis(
        size=axis.size + (size - 1) * dilation * step,
        step=axis.step * stride if axis.step is not None else None,
        variance=axis.variance + (step * dilation) ** 2 * (size**2 - 1) / 12,
    )


def _merged(given: list[_Field]) -> _Field:
    """Where branches meet, the widest says what can be seen, and equal shares of all say what matters."""
    placed = [field for field in given if field.placed]
    whole = any(field.whole for field in given)
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
