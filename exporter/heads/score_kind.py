"""What a network's raw scores are, logits or probabilities: the end of the graph and values on real images show it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from onnx import NodeProto

from exporter.graph import Graph
from exporter.heads.affine import Affine, affine_of, reads_image
from exporter.heads.average import largest_share
from exporter.heads.cosines import are_plain, cosine_form, factors_of
from exporter.heads.distances import is_negated, is_square, sums_distances
from exporter.heads.joined_ends import joins_ends
from exporter.heads.softmax_part import is_part_of_softmax, is_quantized_softmax
from exporter.network import Array

Kind = Literal[
    "logits", "softmax", "softmax_part", "sigmoid", "log_softmax", "constant_sum", "bounded", "log", "tanh", "cosine",
    "signed", "distance", "negated", "amount", "scaled", "positive", "mixed",
    "joined", "one_hot",
]  # fmt: skip
"""`softmax` are probabilities that sum to one over the classes, `softmax_part` are some of them, of which others were
cut off in the graph, as that of a background is, and `sigmoid` are probabilities of each class alone.
`bounded` are values in 0–1, `log` logarithms, and `constant_sum` values of the same sum for every image, of which the
graph does not show what they are. `tanh`, `cosine` and `signed` lie in −1 to 1: as the graph's end shows, or without it
showing why. `distance` are lengths, which are the smaller the better, and `negated` are a linear layer's values or
cosines with the sign turned, which may be so too. `amount` are beyond 0–1 and positive by an exponential or softplus,
as evidence is, of which the shares are probabilities. `scaled` are probabilities times a
factor, as percentages are, also where all happen to lie in 0–1, and `positive` are never negative and beyond 0–1
without the graph showing why. `mixed` come from a softmax or sigmoid, but are not all probabilities: logits stand
beside them, or a cubic resize has taken them beyond 0–1. `joined` are logits beside values that end in another way, as
those of a tanh, and `one_hot` are 1 for the best class and 0 for all others, which no softmax computes."""

RANGE_TOLERANCE = 1e-3
"""Values may leave 0–1 by this much and are still probabilities: inner values can be fp16 or int8."""

SUM_TOLERANCE = 5e-3

LEAST_FACTOR = 10.0
"""A softmax or sigmoid times this or more is in another unit, as percent; smaller factors may correct probabilities."""

CARRIERS = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout"),
    *("Slice", "Gather", "GatherElements", "GatherND", "Split", "Expand", "Resize", "Upsample"),
    *("ReduceMean", "AveragePool", "GlobalAveragePool", "DequantizeLinear", "QuantizeLinear"),
    *("ReduceMax", "MaxPool", "GlobalMaxPool", "Relu", "LeakyRelu", "PRelu"),
    *("SplitToSequence", "ConcatFromSequence"),
}
"""Operators after which probabilities are still probabilities, and logits still logits; the first input is followed.

SqueezeNet's logits come out of a ReLU: they may all lie in 0–1, and are no probabilities.
"""

_ENDS = {
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
    "LogSoftmax": "log_softmax",
    "Log": "log",
    "Exp": "amount",
    "Softplus": "log",
    "Tanh": "tanh",
    "Softsign": "tanh",
    "Erf": "tanh",
    "Sqrt": "distance",
    "ReduceL2": "distance",
    "ReduceSumSquare": "distance",
}
_LINEAR = {
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "BatchNormalization"),
    *("LayerNormalization", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"),
}
_PROBABILITIES = {"softmax", "sigmoid"}
_PICKS = {"ArgMax", "OneHot", "Hardmax", "TopK", "Equal", "GreaterOrEqual"}
"""Operators that pick the best of several values."""

_REDUCTIONS = {"ReduceMax", "ReduceMin", "ReduceMean", "ReduceLogSumExp", "TopK"}
"""Operators that give one value of all classes: the same is then taken from each class, or each from it."""

_SHAPINGS = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Cast"}
_ROUNDINGS = {"Round", "Floor", "Ceil"}
_SUMS = {"Add", "Sub", "Sum"}
_SCALINGS = {"Mul", "Div"}


def score_kind(graph: Graph, tensor: str, scores: Sequence[Array], axis: int) -> Kind:
    """Return what the scores of a tensor are.

    Args:
        graph: computes the tensor.
        tensor: its name.
        scores: the tensor's values on real images, or the part of them that are scores.
        axis: the axis of the classes in `scores`.
    """
    kind = _kind(graph, tensor, scores, axis)
    if kind == "logits" and scores[0].shape[axis] > 1 and joins_ends(graph, tensor, graph_ends):
        return "joined"
    return kind


def _kind(graph: Graph, tensor: str, scores: Sequence[Array], axis: int) -> Kind:
    values = [np.asarray(one, np.float64) for one in scores]
    inside, several = in_unit_range(values), values[0].shape[axis] > 1
    if inside and (
        sums_to_one(values, axis) or (several and is_quantized_softmax(graph, tensor, axis))
    ):
        return "one_hot" if _is_one_hot(graph, tensor, values) else "softmax"
    if several and _is_log_softmax(values, axis):
        return "log_softmax"
    ends = graph_ends(graph, tensor)
    if (signed := _signed_kind(graph, tensor, values, ends)) is not None:
        return signed
    if ends != {"linear"} and several and _has_one_sum(values, axis):
        return "constant_sum"
    if inside:
        return _kind_inside(graph, tensor, values, axis, ends)
    return _kind_beyond(graph, tensor, value_range(values), ends, several=several)


def _kind_beyond(
    graph: Graph, tensor: str, limits: tuple[float, float], ends: set[str], *, several: bool
) -> Kind:
    """Return what values beyond 0–1 are."""
    low, high = limits
    if several and low >= 0 and ends & {"amount", "log"}:
        return "amount"
    if low >= -RANGE_TOLERANCE and _scales_probabilities(graph, tensor):
        return "scaled"
    if ends & {"log", "log_softmax"} and high <= RANGE_TOLERANCE:
        return "log"
    if ends & _PROBABILITIES:
        return "mixed"
    return "positive" if low >= 0 and ends != {"linear"} else "logits"


def _signed_kind(graph: Graph, tensor: str, values: Sequence[Array], ends: set[str]) -> Kind | None:
    """Return what values are that are neither logits nor in 0–1: in −1 to 1 by their making, or distances."""
    low, high = value_range(values)
    cosines = cosine_form(graph, tensor)
    if (cosines is not None and cosines.falls) or _is_turned(graph, tensor):
        return "negated"
    if cosines is not None and are_plain(cosines, low, high, RANGE_TOLERANCE):
        return "cosine"
    are_lengths = ends == {"distance"} and high > 0 and not is_negated(graph, tensor)
    if are_lengths or ("distance" in ends and low >= 0):
        return "distance"
    if not (low >= -1 - RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        return None
    if low >= 0 or ends == {"linear"} or (ends & _PROBABILITIES and high > 0):
        return None
    # Bounds and logarithms have kinds of their own.
    return "tanh" if "tanh" in ends else "signed" if high > 0 or "log" not in ends else None


def _is_turned(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor falls where the values of a linear layer rise, which are no distances."""
    form = affine_of(graph, tensor)
    apart = _beside_own_reduction(graph, form.inner)
    if apart is not None:
        form = form.behind(apart).behind(affine_of(graph, apart.inner))
    node = graph.producers().get(form.inner)
    if not form.falls or node is None:
        return False
    read = node.input if node.op_type in _LINEAR else factors_of(graph, form.inner)
    computed = [name for name in read if name and reads_image(graph, name)]
    # A product of computed values with themselves may be a squared length.
    return len(computed) == 1 and not _is_distance(graph, computed[0])


def _beside_own_reduction(graph: Graph, tensor: str) -> Affine | None:
    """Return a tensor by the scores whose best, least or mean it is the difference from, as max(logits) − logits."""
    node = graph.producers().get(tensor)
    if node is None or node.op_type != "Sub":
        return None
    first, second = node.input
    for scores, other, sign in ((second, first, -1.0), (first, second, 1.0)):
        reduced = graph.producers().get(_before_moves(graph, other))
        if reduced is not None and reduced.op_type in _REDUCTIONS and reduced.input[0] == scores:
            return Affine(scores, (sign, sign))
    return None


def _before_moves(graph: Graph, tensor: str) -> str:
    """Return the tensor whose values another has in another shape."""
    producers = graph.producers()
    while (node := producers.get(tensor)) is not None and node.op_type in _SHAPINGS:
        tensor = node.input[0]
    return tensor


def _is_distance(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor is a square or an absolute value, of which a layer sums up a distance."""
    node = graph.producers().get(affine_of(graph, tensor).inner)
    if node is None:
        return False
    return node.op_type in {"Abs", "Sqrt"} or is_square(graph, node) or sums_distances(graph, node)


def _kind_inside(
    graph: Graph, tensor: str, values: Sequence[Array], axis: int, ends: set[str]
) -> Kind:
    """Return what values in 0–1 are, of which the sums are not one."""
    if is_magnified(graph, tensor):
        return "scaled"
    several = values[0].shape[axis] > 1
    is_part = (
        several and _sums_to_at_most_one(values, axis) and is_part_of_softmax(graph, tensor, axis)
    )
    if is_part is not False:
        return "softmax_part" if is_part else "bounded"
    if ends == {"linear"}:
        return "logits"
    if not ends & _PROBABILITIES:
        return "bounded"
    return "mixed" if "linear" in ends else "sigmoid"


def graph_ends(graph: Graph, tensor: str) -> set[str]:
    """Return the kinds of operator that a tensor's values come from: `linear`, `unknown`, or an activation's name."""
    producers = graph.producers()
    found: set[str] = set()
    seen: set[str] = set()
    queue = [tensor]
    while queue:
        name = queue.pop()
        node = producers.get(name)
        if name in seen:
            continue
        seen.add(name)
        if node is None:
            found.add("unknown")
        elif sums_distances(graph, node):
            found.add("distance")
        elif (followed := _followed(graph, node)) is not None:
            queue += followed
        elif (share := _share(graph, node)) is not None:
            # Of larger sums, as of the classes of a group, it is not known whether they stay in 0–1.
            if share <= 1 + RANGE_TOLERANCE:
                queue.append(node.input[0])
            else:
                found.add("unknown")
        else:
            found.add("linear" if node.op_type in _LINEAR else _ENDS.get(node.op_type, "unknown"))
    return found


def _share(graph: Graph, node: NodeProto) -> float | None:
    """Return the largest sum of weights with which a node adds up probabilities, None of a trained layer."""
    share = largest_share(graph, node)
    if share is None or not graph_ends(graph, node.input[0]) <= _PROBABILITIES:
        return None
    return share


def in_unit_range(values: Sequence[Array]) -> bool:
    """Return whether all values are in 0–1; a value that is no number is not."""
    low, high = value_range(values)
    return low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE


def value_range(values: Sequence[Array]) -> tuple[float, float]:
    """Return the smallest and the largest value, NaN where one is no number."""
    # Python's min and max would lose a NaN that is not in the first array.
    return (
        float(np.min([one.min() for one in values])),
        float(np.max([one.max() for one in values])),
    )


def sums_to_one(values: Sequence[Array], axis: int) -> bool:
    """Return whether the values of several classes sum to one everywhere."""
    return values[0].shape[axis] > 1 and _sums_to(values, axis, 1.0)


def _followed(graph: Graph, node: NodeProto) -> list[str] | None:
    """Return the inputs that a node passes on without changing what they are, None if it does change them."""
    computed = [name for name in node.input if name and reads_image(graph, name)]
    if node.op_type in CARRIERS:
        return list(node.input[:1])
    if node.op_type in {"Concat", "Where"}:
        # PyTorch writes a softplus as a choice between it and its argument; a mask chooses a constant.
        chosen = node.input[1 if node.op_type == "Where" else 0 :]
        return [name for name in chosen if name in computed]
    if node.op_type in _SUMS | _SCALINGS and len(set(node.input)) > 1:
        return _followed_arithmetic(graph, node, computed)
    # The heads of several stages, stacked and added, are linear; what the sum of probabilities is can not be known.
    # The square of a length is that of a distance.
    kept = {"linear"} if node.op_type == "ReduceSum" else {"distance"}
    if node.op_type == "ReduceSum" or is_square(graph, node):
        return list(node.input[:1]) if graph_ends(graph, node.input[0]) == kept else None
    if node.op_type in {"Clip", "Neg", "Max", "Min"} and len(computed) == 1:
        # Bounds, or a sign, say nothing about logits, but a probability or logarithm stays visible behind them.
        inner = graph_ends(graph, computed[0])
        return None if inner == {"linear"} else computed
    return None


def _followed_arithmetic(graph: Graph, node: NodeProto, computed: list[str]) -> list[str] | None:
    """Follow sums, and products with a constant, of linear values, which are linear; logarithms; and amounts."""
    if node.op_type in _SCALINGS:
        computed = [name for name in computed if not _is_step_size(graph, name)]
        if len(computed) != 1:
            return None
    inner = set().union(*(graph_ends(graph, name) for name in computed))
    alone = len(computed) == 1 and inner <= {"linear", "log", "amount", "log_softmax", "distance"}
    # A squared distance may be written as |x|² − 2xc + |c|².
    together = node.op_type in _SUMS and inner <= {"linear", "distance"}
    return computed if alone or together or inner in ({"linear"}, {"log"}, {"amount"}) else None


def _scales_probabilities(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor is a softmax or sigmoid behind sums and products with constants."""
    producers = graph.producers()
    scaled = False
    while (node := producers.get(tensor)) is not None:
        computed = [name for name in node.input if name and reads_image(graph, name)]
        is_arithmetic = node.op_type in _SUMS | _SCALINGS | {"Clip"} and len(computed) == 1
        if not is_arithmetic and node.op_type not in CARRIERS:
            return scaled and _ENDS.get(node.op_type) in {"softmax", "sigmoid"}
        scaled = scaled or node.op_type in _SCALINGS
        tensor = computed[0] if is_arithmetic else node.input[0]
    return False


def is_magnified(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor is a softmax or sigmoid times so large a factor that small values are no probabilities.

    Those of a network that finds little on the images are below 1 % of it, and lie in 0–1 too.
    """
    producers = graph.producers()
    factor = 1.0
    while (node := producers.get(tensor)) is not None:
        if node.op_type in _SCALINGS:
            constants = [value for name in node.input if (value := graph.value(name)) is not None]
            computed = [name for name in node.input if graph.value(name) is None]
            is_inverse = node.op_type == "Div" and computed != [node.input[0]]
            if len(constants) != 1 or is_inverse or not constants[0].size:
                return False
            least = float(np.abs(constants[0]).min())
            factor *= least if node.op_type == "Mul" else 1 / least if least else 0.0
            tensor = computed[0]
        elif node.op_type in CARRIERS or node.op_type in _ROUNDINGS:
            tensor = node.input[0]
        else:
            return factor >= LEAST_FACTOR and _ENDS.get(node.op_type) in {"softmax", "sigmoid"}
    return False


def _is_step_size(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor is the step size of a dynamic quantization, times constants: a positive number."""
    node = graph.producers().get(tensor)
    while node is not None and node.op_type == "Mul":
        computed = [name for name in node.input if reads_image(graph, name)]
        if len(computed) != 1:
            return False
        tensor, node = computed[0], graph.producers().get(computed[0])
    return node is not None and node.op_type == "DynamicQuantizeLinear" and tensor == node.output[1]


def _sums_to_at_most_one(values: Sequence[Array], axis: int) -> bool:
    return all(bool(np.all(one.sum(axis=axis) <= 1 + SUM_TOLERANCE)) for one in values)


def _sums_to(values: Sequence[Array], axis: int, total: float) -> bool:
    return all(bool(np.all(np.abs(v.sum(axis=axis) - total) <= SUM_TOLERANCE)) for v in values)


def _has_one_sum(values: Sequence[Array], axis: int) -> bool:
    """Return whether non-negative values have the same sum, which is not 0, for every image."""
    sums = np.concatenate([one.sum(axis=axis).reshape(-1) for one in values])
    low, _ = value_range(values)
    spread = float(sums.max() - sums.min())
    several = len(sums) > 1 and any(float(np.ptp(one)) > 0 for one in values)
    return several and low >= 0 and sums.min() > 0 and spread <= SUM_TOLERANCE * float(sums.max())


def _is_one_hot(graph: Graph, tensor: str, values: Sequence[Array]) -> bool:
    """Return whether scores that sum to one are 0 and 1 alone because the graph picks the best class.

    A softmax that is very sure gives such values too.
    """
    if not all(bool(np.all((one == 0) | (one == 1))) for one in values):
        return False
    producers = graph.producers()
    queue, seen = [tensor], set[str]()
    while queue:
        name = queue.pop()
        node = producers.get(name)
        if node is None or name in seen or node.op_type in _LINEAR or node.op_type == "Softmax":
            continue
        if node.op_type in _PICKS:
            return True
        seen.add(name)
        queue += node.input
    return False


def _is_log_softmax(values: Sequence[Array], axis: int) -> bool:
    if value_range(values)[1] > RANGE_TOLERANCE:
        return False
    return _sums_to([np.exp(one) for one in values], axis, 1.0)
