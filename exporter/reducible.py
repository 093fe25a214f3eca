"""Whether a network can be reduced to a lower precision: it must compute in float32 itself."""

from collections.abc import Iterator

from onnx import TensorProto

from exporter.errors import RecipeError
from exporter.graph import Graph, attribute
from exporter.recipe import Recipe

_HALF: dict[object, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


def require_reducible(graph: Graph, recipe: Recipe) -> None:
    """Refuse int8, fp16 and bf16 of a network that computes in 16 bits or in integers itself.

    Raises:
        RecipeError: the message names the option and what the network computes in.
    """
    options = [f"--precision {one}" for one in recipe.precision if one != "fp32"]
    options += [f"--variants {one}" for one in recipe.variants]
    found = next(_reduced(graph), None)
    if not options or found is None:
        return
    raise RecipeError(
        f"{options[0]}: the network {found} itself, and lower precisions are made from float32. Export the network in "
        "float32 from where it was trained, or leave the option out: the file is served as it is"
    )


def _reduced(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type == "Cast" and (kind := attribute(node, "to", 0)) in _HALF:
            yield f"computes in {_HALF[kind]}"
        if node.op_type in {"QuantizeLinear", "DynamicQuantizeLinear"}:
            yield "is quantized"
    # A network in 16 bits needs no Cast where its input has 16 bits too.
    for value in graph.inputs:
        if (kind := value.type.tensor_type.elem_type) in _HALF:
            yield f"reads {_HALF[kind]}"
