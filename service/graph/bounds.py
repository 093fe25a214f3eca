"""An ONNX file → why it is not given to a runtime, found before it is loaded; docs/security.md says what is checked.

What a graph computes can not be bounded by reading it: a loop may have no end, and a shape may come from the image.
Here is what can be seen in the file, in milliseconds and without its weights. A trial run finds what is left.
"""

import math
import operator
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import MappingProxyType

from service.errors import ServableError
from service.graph.followed import FOLLOWED, followed
from service.graph.outline import (
    ITEM_BYTES,
    MOST_DIMENSIONS,
    Graph,
    Node,
    Outline,
    Tensor,
    elements,
    read_outline,
)
from service.graph.products import PRODUCTS, broadcast, product_of

MAX_TENSOR_BYTES = 2**30
MOST_NODES = 1_000_000
"""With each function in place of its calls. The largest exported networks have some ten thousand."""
MOST_CALLS = 12
"""Functions within functions: PyTorch's exporter writes three or four."""

DOMAINS = frozenset({"", "ai.onnx.ml", "com.microsoft"})
"""Operators that ONNX Runtime itself brings; com.microsoft is what its own tools for int8 and fusion write."""
COMPILED = frozenset({"EPContext"})
"""Of com.microsoft: a program for a device, which is run as it is, or a path to one."""

_BEYOND_ALL = 2**63
_FLOAT = 1
"""ONNX's number of the type."""
_UNKNOWN_ITEM = 4
"""The bytes of an element whose type is not known here: a float's."""

Literals = Mapping[str, Tensor]
"""By name, constants and what is made of them; of these only the type and how many elements there are."""


def check_bounds(
    path: Path, *, data: Path | None = None, max_tensor_bytes: int = MAX_TENSOR_BYTES
) -> None:
    """Refuse a file whose graph brings foreign code, reads other files, or asks for more memory than allowed.

    Args:
        path: the servable, a regular file.
        data: the file that may hold its weights; None: they are in the servable.
        max_tensor_bytes: of a tensor that the graph makes out of a few constants.

    Raises:
        ServableError: the reason.
    """
    try:
        outline = read_outline(path, frozenset(MAKERS) | PRODUCTS | frozenset(FOLLOWED))
        _check_operators(outline)
        _check_size(outline)
        for graph, literals in with_literals(outline.graph, *outline.functions.values()):
            _check_constants(graph, data, max_tensor_bytes)
            _check_made(graph, literals, max_tensor_bytes)
    except ServableError as error:
        raise ServableError(f"{path}: {error}") from error
    except OSError as error:
        raise ServableError(f"{path} can not be read: {error.strerror or error}") from error


def with_literals(*graphs: Graph) -> Iterator[tuple[Graph, ChainMap[str, Tensor]]]:
    """Yield each graph and subgraph with the constants that its nodes can read, to which their own may be added."""
    waiting = [(graph, ChainMap({}, graph.literals)) for graph in graphs]
    while waiting:
        graph, literals = waiting.pop()
        yield graph, literals
        waiting += [
            (inner, literals.new_child(inner.literals).new_child())
            for node in graph.nodes
            for inner in node.graphs
        ]


def _check_operators(outline: Outline) -> None:
    for graph, _ in with_literals(outline.graph, *outline.functions.values()):
        for domain, name in graph.operators:
            if (domain, name) in outline.functions:
                continue
            if domain not in DOMAINS:
                raise ServableError(
                    f"it has the custom operator {domain}:{name}, whose code is not in the file. Export it with "
                    "operators of ONNX"
                )
            if name in COMPILED:
                raise ServableError(
                    f"it has the operator {name}, a program that was compiled for a device. Serve the network "
                    "that it was compiled from"
                )


def _check_size(outline: Outline) -> None:
    """Refuse a file that becomes too large, or never ends, when its functions are put in place of their calls."""
    sizes: dict[tuple[str, str], int] = {}
    entered: set[tuple[str, str]] = set()

    def size_of(graph: Graph) -> int:
        total = sum(graph.operators.values())
        for key, count in graph.operators.items():
            if key in outline.functions:
                total += count * of_function(key)
        total += sum(size_of(inner) for node in graph.nodes for inner in node.graphs)
        return min(total, 2 * MOST_NODES)

    def of_function(key: tuple[str, str]) -> int:
        if key not in sizes:
            if key in entered:
                raise ServableError(f"its function {':'.join(key)} calls itself")
            if len(entered) > MOST_CALLS:
                raise ServableError(f"its functions call each other more than {MOST_CALLS} deep")
            entered.add(key)
            sizes[key] = size_of(outline.functions[key])
            entered.remove(key)
        return sizes[key]

    total = size_of(outline.graph)
    if total > MOST_NODES:
        raise ServableError(
            f"it has more than {MOST_NODES} nodes with its functions in place of their calls"
        )


def _check_constants(graph: Graph, data: Path | None, most: int) -> None:
    for tensor in graph.tensors:
        if any(side < 0 for side in tensor.shape):
            raise ServableError(f"its constant {tensor.name!r} has the shape {tensor.shape}")
        for name in tensor.files:
            if data is None or name != data.name:
                allowed = f"only {data.name} is read" if data else "its certificate names none"
                raise ServableError(
                    f"its constant {tensor.name!r} lies in another file, {name!r}; {allowed}. Export it again"
                )
        # Elements of four bits are stored two to a byte.
        if not tensor.files and elements(tensor.shape) > 2 * tensor.stored:
            raise ServableError(
                f"its constant {tensor.name!r} declares {elements(tensor.shape)} elements, and {tensor.stored} bytes "
                "are there; the file is damaged or hostile"
            )
    for tensor in graph.sparse:
        _refuse_large("a sparse constant", elements(tensor.shape), tensor.type, most)


def _check_made(graph: Graph, literals: MutableMapping[str, Tensor], most: int) -> None:
    """Check what each node makes out of constants, and out of what others made of them before it."""
    for node in graph.nodes:
        made = made_of(node, literals)
        if made is not None:
            what = f"the output {node.output!r} of {node.operator}"
            _refuse_large(what, elements(made.shape), made.type, most)
            literals[node.output] = made


def made_of(node: Node, literals: Literals) -> Tensor | None:
    """Return what a node makes at least of constants; None where it makes nothing of them, or nobody knows here."""
    made = _made_of(node, literals) if node.domain in DOMAINS else None
    if made is None or (
        len(made.shape) <= MOST_DIMENSIONS and max(made.shape, default=0) <= _BEYOND_ALL
    ):
        return made
    # A row of nodes could make shapes and numbers longer and longer.
    count = min(elements(made.shape), _BEYOND_ALL)
    return made._replace(shape=(count,), values=None, exact=False)


def _made_of(node: Node, literals: Literals) -> Tensor | None:
    if node.operator in FOLLOWED:
        return followed(node, literals)
    if node.operator in PRODUCTS:
        return product_of(node, literals)
    if node.operator not in MAKERS:
        return None
    kind = _type(node, literals)
    shape = _exact_shape(node, literals)
    if shape is not None:
        return Tensor(node.output, shape, kind, 0, (), None)
    count = MAKERS[node.operator](node, literals)
    return Tensor(node.output, (count,), kind, 0, (), None, exact=False)


def _exact_shape(node: Node, literals: Literals) -> tuple[int, ...] | None:
    """Return the whole shape of what a node makes, where it stands in the file."""
    if node.operator == "Range":
        known = all(_values(node, place, literals) for place in range(3))
        return (_range(node, literals),) if known else None
    place = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}.get(node.operator)
    sides = _sides(_values(node, place, literals)) if place is not None else None
    if sides is None or place == 0:
        return sides
    first = literals.get(node.inputs[0])
    if first is None or not first.exact:
        return None
    if node.operator == "Expand":
        return broadcast(first.shape, sides)
    fits = len(sides) == len(first.shape)
    return tuple(map(operator.mul, first.shape, sides)) if fits else None


def _sides(values: tuple[float, ...]) -> tuple[int, ...] | None:
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        return None
    return tuple(int(value) for value in values)


def _refuse_large(what: str, count: int, kind: int, most: int) -> None:
    size = count * ITEM_BYTES.get(kind, _UNKNOWN_ITEM)
    if size > most:
        raise ServableError(
            f"{what} takes at least {size} bytes; {most} are allowed (FOVEAL_MAX_TENSOR_BYTES)"
        )


def _type(node: Node, literals: Literals) -> int:
    """Return the data type of what a node makes, 0 where it is not known here."""
    if "value" in node.tensors:
        return node.tensors["value"].type
    if node.operator == "ConstantOfShape":
        return _FLOAT
    first = literals.get(node.inputs[0]) if node.inputs else None
    return first.type if first is not None and node.operator in _KEEP_TYPE else 0


_KEEP_TYPE = frozenset({"Expand", "MaxUnpool", "Pad", "Range", "Resize", "Tile", "Upsample"})


# How many elements a node makes at least, from the constants that it reads. Other inputs have one element at least.


def _values(node: Node, place: int, literals: Literals) -> tuple[float, ...]:
    tensor = literals.get(node.inputs[place]) if place < len(node.inputs) else None
    return tensor.values or () if tensor is not None else ()


def _product(values: tuple[float, ...]) -> int:
    """Return the product of sides, of which one that is unknown (-1, or 0: as before) counts as one."""
    return elements(tuple(max(1, int(value)) for value in values if math.isfinite(value)))


def _shape_at(place: int) -> Callable[[Node, Literals], int]:
    return lambda node, literals: _product(_values(node, place, literals))


def _shape_in(attribute: str) -> Callable[[Node, Literals], int]:
    return lambda node, _: _product(node.numbers.get(attribute, ()))


def _known(node: Node, literals: Literals) -> int:
    """Return how many elements the first input has at least."""
    first = literals.get(node.inputs[0]) if node.inputs else None
    return max(1, elements(first.shape)) if first is not None else 1


def _expanded(node: Node, literals: Literals) -> int:
    return max(_known(node, literals), _product(_values(node, 1, literals)))


def _tiled(node: Node, literals: Literals) -> int:
    return _known(node, literals) * _product(_values(node, 1, literals))


def _range(node: Node, literals: Literals) -> int:
    parts = [_values(node, place, literals) for place in range(3)]
    if any(len(part) != 1 for part in parts):
        return 1
    (start,), (limit,), (step,) = parts
    if not step or not all(map(math.isfinite, (start, limit, step))):
        return 1
    return max(0, math.ceil((limit - start) / step))


def _padded(node: Node, literals: Literals) -> int:
    pads = _values(node, 1, literals) or node.numbers.get("pads", ())
    half = len(pads) // 2
    added = _product(tuple(1 + pads[axis] + pads[axis + half] for axis in range(half)))
    return max(_known(node, literals), added) if min(pads, default=0) >= 0 else added


def _resized(node: Node, literals: Literals) -> int:
    """Count the elements by `sizes`, or by `scales`: they have been an attribute, the second and the third input."""
    sizes = _product(_values(node, 3, literals))
    known = _known(node, literals)
    for scales in (
        node.numbers.get("scales", ()),
        _values(node, 1, literals) if len(node.inputs) == 2 else (),
        _values(node, 2, literals),
    ):
        if scales:
            grown = known * math.prod(scales)
            sizes = max(sizes, int(grown) if math.isfinite(grown) else _BEYOND_ALL)
    return sizes


MAKERS: Mapping[str, Callable[[Node, Literals], int]] = MappingProxyType(
    {
        "BlackmanWindow": _shape_at(0),
        "ConstantOfShape": _shape_at(0),
        "Expand": _expanded,
        "HammingWindow": _shape_at(0),
        "HannWindow": _shape_at(0),
        "MaxUnpool": _shape_at(2),
        "MelWeightMatrix": _shape_at(0),
        "Multinomial": _shape_in("sample_size"),
        "OneHot": _shape_at(1),
        "Pad": _padded,
        "RandomNormal": _shape_in("shape"),
        "RandomUniform": _shape_in("shape"),
        "Range": _range,
        "Resize": _resized,
        "Tile": _tiled,
        "Upsample": _resized,
    }
)
"""The operators that make something large out of little."""
