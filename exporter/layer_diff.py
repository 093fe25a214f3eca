"""The first layer of a network whose output differs from everything in its graph."""

from collections.abc import Iterable

import onnx
import onnxruntime

from exporter.graph import with_outputs
from exporter.heads.metrics import relative_difference
from exporter.network import Array
from exporter.sessions import unoptimized_session
from exporter.shapes import infer_shapes
from exporter.shortage import shortage

SAME = 1e-3
"""Inner tensors are compared coarsely: the search is for a different computation, not for rounding."""

_NEXT_STEP = "Compute it with other operations, or state --tolerance if you know that this difference does no harm"

_MORE_MEMORY = (
    "Export it where there is more memory, or with a smaller image (--height, --width), to see which one it is. Or "
    "state --tolerance if you know that this difference does no harm"
)


def first_disagreement(
    model: onnx.ModelProto, layers: Iterable[tuple[str, Array]], inputs: Array
) -> str:
    """Return a sentence that names the first layer of the source without an equal tensor in the graph.

    A layer that the conversion fused with another has no equal of its own. So the sentence also names the last layer
    before it that has one: the two agree at least up to there. The search holds all inner tensors: where memory runs
    out for it, the sentence says so, since the difference is what counts.

    Args:
        model: the graph.
        layers: name and output of each of the source's layers for `inputs`, in order.
        inputs: a batch of the graph's only input.
    """
    try:
        return f"{_first_disagreement(model, layers, inputs)} {_NEXT_STEP}"
    except Exception as error:  # each library has its own error for memory that runs out
        if shortage(error) is None:
            raise
        return f"Memory ran out in the search for the first layer that differs. {_MORE_MEMORY}"


def _first_disagreement(
    model: onnx.ModelProto, layers: Iterable[tuple[str, Array]], inputs: Array
) -> str:
    agreed, differs = "the input", None
    inner = _inner_tensors(model, inputs)
    for name, value in layers:
        if _has_equal(value, inner):
            agreed, differs = name, None
        elif differs is None:
            differs = name
    if differs is None:
        return f"All layers agree up to the last, {agreed}: the difference is in the head."
    return f"They agree up to {agreed}; the first layer that disagrees is {differs}."


def optimized_away(difference: float) -> str:
    """Return a sentence for a graph that differs only with ONNX Runtime's optimizations.

    Args:
        difference: from the source, when the graph is run node by node without them.
    """
    return (
        f"Without optimizations it differs by {difference:.2g}: one of ONNX Runtime {onnxruntime.__version__} changes "
        "what the graph computes. Try another version of ONNX Runtime"
    )


def _inner_tensors(model: onnx.ModelProto, inputs: Array) -> list[Array]:
    """Run the graph without optimizations and return every float tensor that it computes."""
    shapes = infer_shapes(model)
    names = [
        name
        for node in model.graph.node
        for name in node.output
        if name in shapes and shapes[name].is_float
    ]
    session = unoptimized_session(with_outputs(model, names))
    return list(session.run(None, {session.get_inputs()[0].name: inputs}))


def _has_equal(value: Array, candidates: Iterable[Array]) -> bool:
    return any(
        candidate.shape == value.shape and relative_difference(candidate, value) < SAME
        for candidate in candidates
    )
