"""How much memory ONNX Runtime takes at least while it loads a file, from the file's outline; nothing is loaded."""

import platform
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path

from service.errors import ServableError
from service.graph.bounds import made_of, with_literals
from service.graph.followed import PASSING
from service.graph.outline import ITEM_BYTES, Graph, Node, Outline, Tensor, elements, read_outline

_FLOAT = 1
"""ONNX's number of the type."""
_MAPS = 4
"""Dimensions of the weights of a convolution over images."""
_ALIGNED = 4
"""ONNX Runtime lays out convolutions anew where the numbers of their channels are a multiple of this."""
_LAYS_OUT = platform.machine().lower() in {"x86_64", "amd64"}
_NOT_COMPUTED = frozenset(
    {"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear", "Shape", "Size"}
    | {"Bernoulli", "Multinomial", "RandomNormal", "RandomUniform"}
    | {"RandomNormalLike", "RandomUniformLike"}
)
"""What ONNX Runtime does not compute when it loads a file, or without a look at the constant."""
CERTAIN_SHARE = 0.95
"""Of what was measured, what counts. With weights of 64 to 572 MiB, in 1 to 8 constants, inside the file and beside it,
a process with no more memory than this was always ended by the kernel."""
_COPIES = 3
"""Of a constant that is laid out anew, what is held beside its new layout until that is done: measured with constants
of 36 to 256 MiB, one to four in a row."""


class _All:
    """All operators."""

    def __contains__(self, _: object) -> bool:
        return True


def least_load_bytes(path: Path, *, on_cpu: bool) -> int:
    """Return how many bytes the loading of a file takes at least, beside what the process holds before.

    The parser holds all constants of the file; one of them is then copied, or those of convolutions are laid out
    anew, one after the other, with further copies of the one that is laid out. Before that, whatever depends on
    constants alone is computed, and held until all of it is. Weights in a file beside it are mapped,
    which the system can undo, and held only where they are packed.

    Args:
        path: the servable.
        on_cpu: whether ONNX Runtime's own kernels run it. Of other devices only the parser is known.

    Raises:
        ServableError: it is no ONNX file.
        OSError: it can not be read.
    """
    outline = read_outline(path, _All())
    stored = [tensor.stored for graph in _graphs(outline) for tensor in graph.tensors]
    inside = sum(stored)
    if not on_cpu:
        return int(inside * CERTAIN_SHARE)
    laid_out = _laid_out(outline.graph)
    packed = sum(laid_out) + _packed_from_beside(outline.graph)
    while_laid_out = _least_while_laid_out(laid_out)
    made = _least_made(outline.graph)
    return int((inside + max(max(stored, default=0), packed, while_laid_out, made)) * CERTAIN_SHARE)


def _graphs(outline: Outline) -> Iterator[Graph]:
    waiting = [outline.graph, *outline.functions.values()]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += [inner for node in graph.nodes for inner in node.graphs]


def _laid_out(graph: Graph) -> list[int]:
    """Return the bytes of each constant that is copied into another layout."""
    if not _LAYS_OUT:
        return []
    return _bytes_of_each(
        _weights(graph, node)
        for node in graph.nodes
        if node.operator == "Conv"
        and node.numbers.get("group", (1,)) == (1,)
        and all(name in graph.literals for name in node.inputs[2:])
        and _is_aligned(_weights(graph, node))
    )


def _least_while_laid_out(sizes: list[int]) -> int:
    """Return what constants of these sizes take at least while they are laid out, in whatever order that happens.

    At the last one all have their new layouts; and the copies of the largest are held at some time.
    """
    if not sizes:
        return 0
    return max(sum(sizes) + _COPIES * min(sizes), (1 + _COPIES) * max(sizes))


def _least_made(graph: Graph) -> int:
    """Return the bytes of all that is computed of constants alone, and of a copy of what one of these nodes reads.

    Measured with ONNX Runtime 1.31 and 100 to 300 MiB of twelve kinds of nodes, alone and in rows: exactly that. Two
    that are the same, as far as the outline says, count as one, since they become one.
    """
    computed = _Computed(graph.inputs)
    for inner, literals in with_literals(graph):
        for node in inner.nodes:
            computed.add(node, literals)
    return sum(computed.sizes.values()) + computed.copied


class _Computed:
    """What is computed of constants alone.

    Args:
        given: the names of inputs; a constant among them is only a default.

    Attributes:
        sizes: the bytes of each, by its number.
        copied: of what one node reads, the most.
    """

    def __init__(self, given: Collection[str]) -> None:
        self.sizes: dict[int, int] = {}
        self.copied = 0
        self._numbers: dict[Hashable, int] = {}
        """By its name, or by all that it is made of, each constant has a number."""
        self._names: dict[str, int | None] = dict.fromkeys(given)
        """The number of what has this name; None for what may depend on the image."""

    def add(self, node: Node, literals: MutableMapping[str, Tensor]) -> None:
        """Count what a node makes, if it depends on constants alone."""
        made = made_of(node, literals)
        read = [self._number_of(name, literals) for name in node.inputs if name]
        numbers = [number for number in read if number is not None]
        is_apart = node.domain or node.graphs or node.operator in _NOT_COMPUTED
        if is_apart or len(numbers) < len(read):
            self._names[node.output] = None
        elif numbers and _is_passed_on(node, made, literals):
            self._names[node.output] = numbers[0]
        else:
            number = self._numbers.setdefault(_made_of_what(node, numbers), len(self._numbers))
            self._names[node.output] = number
            self.sizes[number] = _bytes_of(made) if made is not None else 0
            self.copied = max(self.copied, sum(self.sizes.get(one, 0) for one in set(numbers)))
        if made is not None:
            literals[node.output] = made

    def _number_of(self, name: str, literals: Mapping[str, Tensor]) -> int | None:
        if name in self._names:
            return self._names[name]
        return self._numbers.setdefault(name, len(self._numbers)) if name in literals else None


def _is_passed_on(node: Node, made: Tensor | None, literals: Mapping[str, Tensor]) -> bool:
    """Return whether a node may make nothing new."""
    if node.operator != "Cast":
        return node.operator in PASSING
    before = literals.get(node.inputs[0])
    return made is None or before is None or before.type in {0, made.type}


def _made_of_what(node: Node, inputs: Iterable[int]) -> Hashable:
    tensors = [(name, one.shape, one.type, one.values) for name, one in node.tensors.items()]
    return node.operator, (*inputs,), (*sorted(node.numbers.items()),), (*sorted(tensors),)


def _bytes_of(tensor: Tensor) -> int:
    return elements(tensor.shape) * ITEM_BYTES.get(tensor.type, 1)


def _is_aligned(weights: Tensor | None) -> bool:
    return (
        weights is not None
        and len(weights.shape) == _MAPS
        and not any(channels % _ALIGNED for channels in weights.shape[:2])
    )


def _packed_from_beside(graph: Graph) -> int:
    """Return the bytes of the matrices in a file beside this one that are copied into the order of the products."""
    found = (_weights(graph, node) for node in graph.nodes if node.operator in {"Gemm", "MatMul"})
    return sum(
        _bytes_of_each(
            one for one in found if one is not None and one.files and len(one.shape) == 2
        )
    )


def _weights(graph: Graph, node: Node) -> Tensor | None:
    return graph.literals.get(node.inputs[1]) if not node.domain and len(node.inputs) > 1 else None


def _bytes_of_each(tensors: Iterator[Tensor | None]) -> list[int]:
    """Return how many bytes each of these constants of float32 has, each once."""
    named = {one.name: one for one in tensors if one is not None and one.type == _FLOAT}
    return [ITEM_BYTES[_FLOAT] * elements(one.shape) for one in named.values()]


def require_room(path: Path, *, left: int, limit: int, on_cpu: bool) -> None:
    """Refuse a file that can not be loaded with the memory that is left: the kernel would end the process.

    Args:
        path: the servable.
        left: how many bytes the process can still get.
        limit: of how many, for the message.
        on_cpu: see `least_load_bytes`.

    Raises:
        ServableError: it does not fit, or is no ONNX file.
    """
    try:
        needed = least_load_bytes(path, on_cpu=on_cpu)
    except ServableError as error:
        raise ServableError(f"{path}: {error}") from error
    except OSError as error:
        raise ServableError(f"{path} can not be read: {error.strerror or error}") from error
    if needed > left:
        raise ServableError(
            f"{path}: to load it takes at least {needed >> 20} MiB of memory, and {left >> 20} of {limit >> 20} MiB "
            "are left. Give the container more memory, use fewer workers, serve fewer models, or export a smaller "
            "network."
        )
