"""An ONNX file → what its graphs consist of, without weights: operators, declared sizes, small constants, subgraphs."""

import math
import struct
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from service.errors import ServableError
from service.graph.wire import LENGTH, Field, WireReader

MOST_DEPTH = 16
"""Of graphs within graphs. Exported detectors have three: a loop, a condition, and the network around them."""
MOST_LITERALS = 64
"""Values of a constant that is read: a shape has a few."""
MOST_DIMENSIONS = 64
_LITERAL_BYTES = 8 * MOST_LITERALS

Values = tuple[float, ...]

# onnx/onnx.proto: the numbers of the fields that are read.
_GRAPH, _FUNCTION = 7, 25
_NODE, _INITIALIZER, _GRAPH_INPUT, _SPARSE_INITIALIZER = 1, 5, 11, 15
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 7, 10
_F, _I, _T, _G, _FLOATS, _INTS, _TENSORS, _GRAPHS, _SPARSE, _SPARSES = (
    2,
    3,
    5,
    6,
    7,
    8,
    10,
    11,
    22,
    23,
)
_NUMBERS_FIELDS = frozenset({_F, _I, _FLOATS, _INTS})
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL = 1, 2, 8, 9, 13
_DATA = {4: "f", 5: "", 6: "", 7: "", 10: "d", 11: ""}
"""The fields of a tensor with its values, and the `struct` code where they are of a fixed width."""
_SPARSE_VALUES, _SPARSE_DIMS = 1, 3

ITEM_BYTES = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 21, 22, 23, 24), 1),
    **dict.fromkeys((4, 5, 10, 16), 2),
    **dict.fromkeys((1, 6, 12), 4),
    **dict.fromkeys((7, 8, 11, 13, 14), 8),
    15: 16,
}
"""Data type → bytes of an element; those of 4 bits count as a byte in memory."""
_RAW_CODES = {1: "f", 11: "d", 6: "i", 7: "q"}


class Tensor(NamedTuple):
    """A constant: the shape that it declares, the bytes that are there, and its values where they are few."""

    name: str
    shape: tuple[int, ...]
    type: int
    stored: int
    files: tuple[str, ...]
    """The files beside this one that hold the data."""
    values: Values | None
    exact: bool = True
    """Whether the shape is the whole one; else it only says how many elements there are at least."""


@dataclass(slots=True)
class Node:
    """A node, without its outputs beyond the first; `numbers` are its attributes of numbers."""

    operator: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    output: str = ""
    numbers: dict[str, Values] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    graphs: "list[Graph]" = field(default_factory=list)


@dataclass(slots=True)
class Graph:
    """A graph, or the body of a function. `nodes` has those that `wanted` named, and those that hold graphs."""

    nodes: list[Node] = field(default_factory=list)
    operators: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many nodes there are of each domain and operator."""
    tensors: list[Tensor] = field(default_factory=list)
    """Every constant, wherever it stands."""
    sparse: list[Tensor] = field(default_factory=list)
    literals: dict[str, Tensor] = field(default_factory=dict)
    """The constants by the name that nodes read."""
    inputs: set[str] = field(default_factory=set)
    """A constant among them is only a default."""


@dataclass(slots=True)
class Outline:
    """The main graph, and the functions that the file brings, by domain and name."""

    graph: Graph
    functions: dict[tuple[str, str], Graph]


def read_outline(path: Path, wanted: Container[str]) -> Outline:
    """Return what an ONNX file consists of.

    Args:
        path: a regular file.
        wanted: the operators whose nodes are kept.

    Raises:
        ServableError: it is no ONNX file, or has more parts or depth than any real network.
        OSError: it can not be read.
    """
    with path.open("rb") as file:
        return _Outliner(WireReader(file), wanted).model(path.stat().st_size)


@dataclass(slots=True)
class _Outliner:
    reader: WireReader
    wanted: Container[str]

    def model(self, end: int) -> Outline:
        graphs: list[Graph] = []
        functions: dict[tuple[str, str], Graph] = {}
        for one in self.reader.fields(end):
            if one.number == _GRAPH:
                graphs.append(self.graph(one, 1))
            elif one.number == _FUNCTION:
                key, body = self.function(one)
                if key in functions:
                    raise ServableError(f"it has two functions of the name {key[0]}:{key[1]}")
                functions[key] = body
        if len(graphs) != 1:
            raise ServableError(f"the file has {len(graphs)} graphs; an ONNX file has one")
        return Outline(graphs[0], functions)

    def graph(self, place: Field, depth: int) -> Graph:
        _require_message(place)
        if depth > MOST_DEPTH:
            raise ServableError(
                f"graphs are nested more than {MOST_DEPTH} deep (If, Loop, Scan); export it without them"
            )
        found = Graph()
        for one in self.reader.fields(place.end):
            if one.number == _NODE:
                self.node(one, found, depth)
            elif one.number == _INITIALIZER:
                tensor = self.tensor(one)
                found.tensors.append(tensor)
                found.literals[tensor.name] = tensor
            elif one.number == _GRAPH_INPUT:
                found.inputs.update(self.names(one))
            elif one.number == _SPARSE_INITIALIZER:
                tensor = self.sparse(one, found)
                found.literals[tensor.name] = tensor
        return found

    def names(self, place: Field) -> list[str]:
        """Return the name of an input."""
        _require_message(place)
        return [self.reader.text(one) for one in self.reader.fields(place.end) if one.number == 1]

    def function(self, place: Field) -> tuple[tuple[str, str], Graph]:
        _require_message(place)
        domain = name = ""
        found = Graph()
        for one in self.reader.fields(place.end):
            if one.number == _FUNCTION_NAME:
                name = self.reader.text(one)
            elif one.number == _FUNCTION_DOMAIN:
                domain = _without_alias(self.reader.text(one))
            elif one.number == _FUNCTION_NODE:
                self.node(one, found, 1)
        return (domain, name), found

    def node(self, place: Field, owner: Graph, depth: int) -> None:
        _require_message(place)
        found = Node()
        for one in self.reader.fields(place.end):
            if one.number == _INPUT:
                found.inputs.append(self.reader.text(one))
            elif one.number == _OUTPUT and not found.output:
                found.output = self.reader.text(one)
            elif one.number == _OPERATOR:
                found.operator = self.reader.text(one)
            elif one.number == _DOMAIN:
                found.domain = _without_alias(self.reader.text(one))
            elif one.number == _ATTRIBUTE:
                self.attribute(one, found, owner, depth)
        owner.operators[found.domain, found.operator] += 1
        if found.operator == "Constant":
            owner.literals[found.output] = _constant(found)
        elif found.graphs or found.operator in self.wanted:
            owner.nodes.append(found)

    def attribute(self, place: Field, node: Node, owner: Graph, depth: int) -> None:
        _require_message(place)
        name = ""
        numbers: list[float] = []
        tensor: Tensor | None = None
        seen: Counter[int] = Counter()
        for one in self.reader.fields(place.end):
            seen[one.number] += 1
            if one.number == 1:
                name = self.reader.text(one)
            elif one.number in _NUMBERS_FIELDS and len(numbers) < MOST_LITERALS:
                numbers.extend(self._numbers(one) or ())
            elif one.number in {_T, _TENSORS}:
                tensor = self.tensor(one)
                owner.tensors.append(tensor)
            elif one.number in {_G, _GRAPHS}:
                node.graphs.append(self.graph(one, depth + 1))
            elif one.number in {_SPARSE, _SPARSES}:
                tensor = self.sparse(one, owner)
        if seen[_G] > 1 or seen[_T] > 1:  # a parser would merge them into another one
            raise ServableError(f"the attribute {name!r} has two values; export the network again")
        if name in node.numbers:
            raise ServableError(f"a node has two attributes {name!r}; export the network again")
        node.numbers[name] = tuple(numbers)
        if tensor is not None:
            node.tensors[name] = tensor

    def tensor(self, place: Field) -> Tensor:
        _require_message(place)
        name, kind, stored = "", 0, 0
        shape: list[int] = []
        files: list[str] = []
        values: list[float] = []
        raw = b""
        for one in self.reader.fields(place.end):
            if one.number == _DIMS:
                shape.extend(self._dimensions(one, len(shape)))
            elif one.number == _TYPE:
                kind = one.value
            elif one.number == _NAME:
                name = self.reader.text(one)
            elif one.number == _EXTERNAL:
                files.extend(self._location(one))
            elif one.number == _RAW:
                stored += one.value
                raw = self.reader.data(one) if one.value <= _LITERAL_BYTES else b""
            elif one.number in _DATA:
                stored += one.value if one.kind == LENGTH else 1
                values.extend(self._values(one, len(values)) or ())
        few = _raw_values(raw, kind) or tuple(values)
        exact = few if len(few) == elements(tuple(shape)) else None
        return Tensor(name, tuple(shape), kind, stored, tuple(files), exact)

    def sparse(self, place: Field, owner: Graph) -> Tensor:
        _require_message(place)
        shape: list[int] = []
        values = Tensor("", (), 1, 0, (), None)
        for one in self.reader.fields(place.end):
            if one.number == _SPARSE_VALUES:
                values = self.tensor(one)
                owner.tensors.append(values)
            elif one.number == _SPARSE_DIMS:
                shape.extend(self._dimensions(one, len(shape)))
        dense = values._replace(shape=tuple(shape), values=None)
        owner.sparse.append(dense)
        return dense

    def _dimensions(self, one: Field, before: int) -> tuple[int, ...]:
        found = self.reader.varints(one, MOST_DIMENSIONS - before)
        if found is None or before + len(found) > MOST_DIMENSIONS:
            raise ServableError(f"a constant has more than {MOST_DIMENSIONS} dimensions")
        return found

    def _values(self, one: Field, before: int) -> Values | None:
        if before >= MOST_LITERALS:
            return None
        code = _DATA[one.number]
        if code:
            return self._fixed(one, code)
        return self.reader.varints(one, MOST_LITERALS) if one.number != 6 else None  # texts

    def _numbers(self, one: Field) -> Values | None:
        if one.number in {_F, _FLOATS}:
            return self._fixed(one, "f")
        return self.reader.varints(one, MOST_LITERALS)

    def _fixed(self, one: Field, code: str) -> Values | None:
        size = struct.calcsize(code)
        if one.kind != LENGTH:
            unpacked: Values = struct.unpack(f"<{code}", one.value.to_bytes(8, "little")[:size])
            return unpacked
        if one.value > size * MOST_LITERALS or one.value % size:
            return None
        packed: Values = struct.unpack(f"<{one.value // size}{code}", self.reader.data(one))
        return packed

    def _location(self, place: Field) -> list[str]:
        entry: dict[int, str] = {}
        for one in self.reader.fields(place.end):
            if one.number in {1, 2}:
                entry[one.number] = self.reader.text(one)
        return [entry.get(2, "")] if entry.get(1) == "location" else []


def elements(shape: tuple[int, ...]) -> int:
    """Return how many elements a shape has; where it is beyond any memory, some number that is too."""
    count = 1
    if 0 in shape:
        return 0
    for side in shape:
        count *= abs(side)
        if count > 2**63:
            break
    return count


def _without_alias(domain: str) -> str:
    """Return the domain by the name that a runtime uses: ONNX's own has two."""
    return "" if domain == "ai.onnx" else domain


def _require_message(place: Field) -> None:
    if place.kind != LENGTH:
        raise ServableError("the file is no ONNX file: a number stands in place of a message")


def _raw_values(raw: bytes, kind: int) -> Values | None:
    code = _RAW_CODES.get(kind, "")
    if not raw or not code or len(raw) % struct.calcsize(code):
        return None
    values: Values = struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
    return values if all(math.isfinite(value) for value in values) else None


_NUMBERS = {"value_int": 7, "value_ints": 7, "value_float": 1, "value_floats": 1}
"""Attributes of a `Constant` node → the data type of what it makes: int64 or float."""


def _constant(node: Node) -> Tensor:
    """Return what a `Constant` node makes; its values are None where it takes them from elsewhere, as from a call."""
    for name in ("value", "sparse_value"):
        if name in node.tensors:
            return node.tensors[name]
    name = next((name for name in _NUMBERS if node.numbers.get(name)), "")
    if not name:
        return Tensor(node.output, (), 0, 0, (), None)
    values, kind = node.numbers[name], _NUMBERS[name]
    shape = (len(values),) if name.endswith("s") else ()
    return Tensor(node.output, shape, kind, ITEM_BYTES[kind] * len(values), (), values)
