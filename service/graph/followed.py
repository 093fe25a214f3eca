"""Operators that carry constants on: they join, repeat or reorder them, or change their type or each of their numbers.

Alone they make little, and in a row much: a constant that is joined with itself, and what comes of it again, doubles
with each node.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from service.graph.outline import MOST_LITERALS, Node, Tensor, Values, elements

Literals = Mapping[str, Tensor]

PASSING = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""They may make nothing new: a runtime removes some of them."""


def followed(node: Node, literals: Literals) -> Tensor | None:
    """Return what such a node makes at least; None where that is not known of its inputs."""
    made = FOLLOWED[node.operator](node, literals)
    return made._replace(name=node.output, stored=0, files=()) if made is not None else None


def constant(node: Node, place: int, literals: Literals) -> Tensor | None:
    """Return the constant that a node reads at a place."""
    return literals.get(node.inputs[place]) if place < len(node.inputs) else None


def at_least(shape: tuple[int, ...], kind: int) -> Tensor:
    """Return a tensor of which is known how many elements it has at least."""
    return Tensor("", (elements(shape),), kind, 0, (), None, exact=False)


def _whole(node: Node, name: str, default: int = 0) -> int:
    """Return an attribute that is one whole number."""
    values = node.numbers.get(name, ())
    return int(values[0]) if values and math.isfinite(values[0]) else default


def _exactly(shape: tuple[int, ...], kind: int, values: Values | None = None) -> Tensor:
    return Tensor("", shape, kind, 0, (), values)


def _same(node: Node, literals: Literals) -> Tensor | None:
    first = constant(node, 0, literals)
    return None if first is None else first._replace(values=None)


def _identical(node: Node, literals: Literals) -> Tensor | None:
    return constant(node, 0, literals)


def _cast(node: Node, literals: Literals) -> Tensor | None:
    first = constant(node, 0, literals)
    return first._replace(type=_whole(node, "to")) if first is not None else None


def _reordered(node: Node, literals: Literals) -> Tensor | None:
    first = constant(node, 0, literals)
    if first is None or not first.exact:
        return _same(node, literals)
    order = node.numbers.get("perm", ()) or range(len(first.shape))[::-1]
    if sorted(order) != list(range(len(first.shape))):
        return at_least(first.shape, first.type)
    return _exactly(tuple(first.shape[int(axis)] for axis in order), first.type)


def _reshaped(node: Node, literals: Literals) -> Tensor | None:
    """Return as many elements as the first input has, and the same numbers; without a shape where it is not plain."""
    first = constant(node, 0, literals)
    if first is None:
        return None
    shape = _shape_of(node, first, literals) if first.exact else None
    if shape is None or elements(shape) != elements(first.shape):
        return at_least(first.shape, first.type)._replace(values=first.values)
    return _exactly(shape, first.type, first.values)


def _shape_of(node: Node, first: Tensor, literals: Literals) -> tuple[int, ...] | None:
    second = constant(node, 1, literals)
    given = node.numbers.get("axes") or (second.values if second is not None else None)
    if given is None or not all(map(math.isfinite, given)):
        return None
    numbers = tuple(int(number) for number in given)
    if node.operator == "Unsqueeze":
        rank = len(first.shape) + len(numbers)  # an axis may stand there twice
        new, old = {number % rank for number in numbers}, iter(first.shape)
        return tuple(1 if axis in new else next(old, 1) for axis in range(rank))
    if node.operator == "Reshape" and numbers.count(-1) <= 1:
        kept = [
            first.shape[axis] if side == 0 and axis < len(first.shape) else side
            for axis, side in enumerate(numbers)
        ]
        others = elements(tuple(side for side in kept if side != -1))
        rest = elements(first.shape) // others if others else 0
        return tuple(rest if side == -1 else side for side in kept)
    return None


def _joined(node: Node, literals: Literals) -> Tensor | None:
    parts = [one for name in node.inputs if (one := literals.get(name)) is not None]
    if not parts:
        return None
    kind, total = parts[0].type, sum(elements(one.shape) for one in parts)
    shapes = [one.shape for one in parts]
    axis = _whole(node, "axis")
    rank = len(shapes[0])
    whole = len(parts) == len(node.inputs) and all(one.exact for one in parts)
    if not whole or not -rank <= axis < rank or any(len(shape) != rank for shape in shapes):
        return at_least((total,), kind)
    shape = list(shapes[0])
    shape[axis] = sum(one[axis] for one in shapes)
    if math.prod(shape) != total:
        return at_least((total,), kind)
    return _exactly(tuple(shape), kind, _joined_values(parts) if rank == 1 else None)


def _joined_values(parts: Iterable[Tensor]) -> Values | None:
    found: list[float] = []
    for one in parts:
        if one.values is None or len(found) + len(one.values) > MOST_LITERALS:
            return None
        found += one.values
    return tuple(found)


def _gathered(node: Node, literals: Literals) -> Tensor | None:
    """Return what is taken of the first input by so many indices."""
    data, indices = constant(node, 0, literals), constant(node, 1, literals)
    if data is None or not data.exact:
        kind = data.type if data is not None else 0
        return at_least(indices.shape, kind) if indices is not None and kind else None
    axis = _whole(node, "axis")
    if not -len(data.shape) <= axis < len(data.shape):
        return None
    axis %= len(data.shape)
    before, after = data.shape[:axis], data.shape[axis + 1 :]
    if indices is None:
        return at_least((*before, *after), data.type)
    shape = (*before, *indices.shape, *after)
    return _exactly(shape, data.type) if indices.exact else at_least(shape, data.type)


def _multiplied(node: Node, literals: Literals) -> Tensor | None:
    left, right = constant(node, 0, literals), constant(node, 1, literals)
    if left is None or right is None or not (left.exact and right.exact):
        return None
    if len(left.shape) != 2 or len(right.shape) != 2:
        return None
    rows = left.shape[bool(_whole(node, "transA"))]
    columns = right.shape[not _whole(node, "transB")]
    return _exactly((rows, columns), left.type)


_NUMBER_BY_NUMBER = (
    *(
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BitwiseNot",
        "Ceil",
        "Celu",
        "Clip",
    ),
    *("Cos", "Cosh", "CumSum", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"),
    *("Hardmax", "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "Not", "Reciprocal", "Relu"),
    *("ReverseSequence", "Round", "ScatterElements", "ScatterND", "Selu", "Shrink", "Sigmoid"),
    *("Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh"),
    *("ThresholdedRelu", "Trilu"),
)

FOLLOWED: Mapping[str, Callable[[Node, Literals], Tensor | None]] = MappingProxyType(
    {
        **dict.fromkeys(_NUMBER_BY_NUMBER, _same),
        "Cast": _cast,
        "Concat": _joined,
        "Dropout": _identical,
        "Flatten": _reshaped,
        "Gather": _gathered,
        "Gemm": _multiplied,
        "Identity": _identical,
        "Reshape": _reshaped,
        "Squeeze": _reshaped,
        "Transpose": _reordered,
        "Unsqueeze": _reshaped,
    }
)
