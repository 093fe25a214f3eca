"""An ONNX graph that can be changed: nodes found by the tensors they compute, unused names, a checked result."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from exporter.errors import GraphError
from exporter.external_data import outline_of, without_weights
from exporter.node_order import in_order, tensors_read

OPSET = 18
IR_VERSION = 8
"""The IR version of every servable. Both numbers are the oldest that PyTorch's exporter writes without conversion, so
that older runtimes can read the files. Only an ONNX file that was found at a newer opset stays there."""

BATCH = "N"
Attribute = int | float | str | list[int] | list[float] | TensorProto

GRAFT_PREFIX = "foveal."
"""Begins the names of nodes and tensors that the exporter adds; its constants are not trained parameters."""

GIVEN_PREFIX = "given."
"""Begins the names of those in a network that had this prefix before."""


class Graph:
    """A mutable ONNX graph.

    `finish` returns a sorted and checked model without unused parts and without notes about where it was made. `opset`
    is the version of the operators that the nodes are written for.

    Raises:
        GraphError: the graph has operators outside standard ONNX.
    """

    def __init__(self, model: onnx.ModelProto, opset: int = OPSET) -> None:
        if any(opset.domain not in {"", "ai.onnx"} for opset in model.opset_import):
            _refuse_foreign_operators(model)
        self._model = onnx.ModelProto()
        self.proto = self._model.graph
        self.proto.CopyFrom(model.graph)
        self.opset = opset
        _normalize(self.proto)
        _disown(self.proto)
        self.constants = {tensor.name: tensor for tensor in self.proto.initializer}
        self._fresh = self._last_number()

    @property
    def nodes(self) -> list[NodeProto]:
        return list(self.proto.node)

    @property
    def inputs(self) -> list[ValueInfoProto]:
        return [value for value in self.proto.input if value.name not in self.constants]

    @property
    def outputs(self) -> list[str]:
        return [value.name for value in self.proto.output]

    def producers(self) -> dict[str, NodeProto]:
        """Return the node that computes each tensor."""
        return {name: node for node in self.proto.node for name in node.output if name}

    def value(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a constant, None for a tensor that is computed."""
        constant = self.constants.get(tensor)
        return None if constant is None else numpy_helper.to_array(constant)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        tensor = numpy_helper.from_array(value, self._fresh_name(name))
        self.proto.initializer.append(tensor)
        self.constants[tensor.name] = tensor
        return tensor.name

    def add(
        self, op: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Attribute
    ) -> str:
        """Add a node with one output and return that tensor's name."""
        return self.add_many(
            op, inputs, outputs=[output or self._fresh_name(op.lower())], **attributes
        )[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        outputs: Sequence[str] | int,
        **attributes: Attribute,
    ) -> list[str]:
        """Add a node with several outputs and return their names."""
        if isinstance(outputs, int):
            outputs = [self._fresh_name(op.lower()) for _ in range(outputs)]
        name = self._fresh_name(op)
        node = helper.make_node(op, inputs, outputs, name=name)
        node.attribute.extend(
            helper.make_attribute(key, value) for key, value in attributes.items()
        )
        self.proto.node.append(node)
        return list(outputs)

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name in every place that computes or reads it.

        Raises:
            GraphError: the name is taken.
        """
        if new in self._names():
            raise GraphError(f"The graph already has a tensor {new!r}")
        _rename(self.proto, old, new)
        if old in self.constants:
            self.constants[new] = self.constants.pop(old)

    def free(self, names: Iterable[str]) -> None:
        """Rename every tensor that has one of these names, so that the servable's own tensors can have them."""
        for name in set(names) & self._names():
            self.rename(name, self._fresh_name(f"inner_{name}"))

    def move_away(self, tensors: Sequence[str], names: Iterable[str]) -> list[str]:
        """Free these names, and return the tensors' names after that."""
        moved = []
        for tensor in tensors:
            taken = tensor in names
            moved.append(self._fresh_name(tensor) if taken else tensor)
            if taken:
                self.rename(tensor, moved[-1])
        self.free(names)
        return moved

    def set_input(self, name: str, dtype: int, shape: Sequence[int | str]) -> None:
        """Make `name` the only input."""
        del self.proto.input[:]
        self.proto.input.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def set_outputs(self, outputs: Iterable[ValueInfoProto]) -> None:
        """Make these the outputs, in this order."""
        del self.proto.output[:]
        self.proto.output.extend(outputs)

    def finish(self, stages: Iterable[ValueInfoProto] = ()) -> onnx.ModelProto:
        """Return the model: sorted, without unused parts, checked.

        It is the graph's own, since a copy would hold the weights a second time; so the graph can not be changed after.
        Of the inner tensors only `stages` keep their shapes.

        Raises:
            GraphError: the graph is not valid ONNX.
        """
        stages = list(stages)
        self._sort()
        self._drop_unused({*self.outputs, *(stage.name for stage in stages)})
        self._strip()
        self.proto.value_info.extend(stages)
        model = self._with_versions(self._model)
        try:
            onnx.checker.check_model(without_weights(model), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise GraphError(f"The completed graph is not valid ONNX: {error}") from error
        return model

    def draft(self) -> onnx.ModelProto:
        """Return the graph as it is now, sorted, to be inspected."""
        return copy_of(self.current())

    def outline(self) -> onnx.ModelProto:
        """Return the graph as it is now, sorted, without the values of its large constants, to be read."""
        return outline_of(self.current())

    def current(self) -> onnx.ModelProto:
        """Return the graph itself, sorted, to be read before it is changed again."""
        self._sort()
        return self._with_versions(self._model)

    def _with_versions(self, model: onnx.ModelProto) -> onnx.ModelProto:
        opset = helper.make_opsetid("", self.opset)
        model.ir_version = max(IR_VERSION, helper.find_min_ir_version_for([opset]))
        model.producer_name = "foveal"
        del model.opset_import[:]
        model.opset_import.append(opset)
        return model

    def _names(self) -> set[str]:
        made = {name for node in self.proto.node for name in node.output}
        return made | set(self.constants) | {value.name for value in self.proto.input}

    def _fresh_name(self, stem: str) -> str:
        self._fresh += 1
        return f"{GRAFT_PREFIX}{stem}_{self._fresh}"

    def _last_number(self) -> int:
        """Return the largest number of a name of our own, which a file that was exported before has."""
        names = self._names() | {node.name for node in self.proto.node}
        numbers = (name.rpartition("_")[2] for name in names if name.startswith(GRAFT_PREFIX))
        return max((int(one) for one in numbers if one.isdecimal()), default=0)

    def _sort(self) -> None:
        replace_nodes(self.proto, in_order(self.proto.node))

    def _drop_unused(self, wanted: set[str]) -> None:
        kept = []
        for node in reversed(self.proto.node):
            if wanted.intersection(node.output):
                wanted.update(tensors_read(node))
                kept.append(node)
        replace_nodes(self.proto, reversed(kept))
        # One by one, since a list of those that stay would be a copy of all weights.
        for index in reversed(range(len(self.proto.initializer))):
            if self.proto.initializer[index].name not in wanted:
                del self.proto.initializer[index]
        self.constants = {tensor.name: tensor for tensor in self.proto.initializer}

    def _strip(self) -> None:
        """Remove what exporters note: source files and module paths, which double small files and name the machine."""
        del self.proto.value_info[:]
        self.proto.name = "foveal"
        for part in (
            self.proto,
            *self.proto.node,
            *self.proto.initializer,
            *self.proto.input,
            *self.proto.output,
        ):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")


def consumers(nodes: Iterable[NodeProto]) -> dict[str, list[NodeProto]]:
    """Return the nodes that read each tensor."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in nodes:
        for name in tensors_read(node):
            readers[name].append(node)
    return readers


def attribute(node: NodeProto, name: str, default: object) -> object:
    """Return a node's attribute, the default where it has none of this name."""
    found = (helper.get_attribute_value(one) for one in node.attribute if one.name == name)
    return next(found, default)


def is_grafted(node: NodeProto) -> bool:
    """Return whether the exporter added the node."""
    return str(node.name).startswith(GRAFT_PREFIX)


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that can be changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of the model with these tensors, and no others, as its outputs."""
    probe = copy_of(model)
    del probe.graph.output[:]
    probe.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return probe


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Make these the graph's nodes; they may be among those it has."""
    kept = onnx.GraphProto()
    kept.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(kept.node)


def replace_constants(graph: onnx.GraphProto, constants: Iterable[TensorProto]) -> None:
    """Make these the graph's constants; they may be among those it has."""
    kept = onnx.GraphProto()
    kept.initializer.extend(constants)
    del graph.initializer[:]
    graph.initializer.extend(kept.initializer)


def float_output(name: str, *shape: int | str) -> ValueInfoProto:
    """Describe a float32 output whose batch axis is free."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *shape])


def floats(*values: float) -> NDArray[np.float32]:
    """Return a float32 vector."""
    return np.array(values, np.float32)


def integers(*values: int) -> NDArray[np.int64]:
    """Return an int64 vector, the type of shapes and axes in ONNX."""
    return np.array(values, np.int64)


def _normalize(graph: onnx.GraphProto) -> None:
    """Bring a graph of any exporter to one form: constants as initializers, a name of its own for each node.

    A Resize of opset 11 has an empty constant where later ones omit the input.
    """
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name in _CONSTANT_FORMS:
            held = _CONSTANT_FORMS[node.attribute[0].name](node.attribute[0])
            graph.initializer.append(held)
            graph.initializer[-1].name = node.output[0]
    known = {tensor.name: 0 in tensor.dims for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    names: set[str] = set()
    for index, node in enumerate(graph.node):
        if node.op_type == "Constant" and node.output[0] in known:
            continue
        if not node.name or node.name in names:
            node.name = f"{node.op_type}_at_{index}"
        names.add(node.name)
        if node.op_type == "Resize":
            kept = ["" if known.get(name) else name for name in node.input]
            del node.input[:]
            node.input.extend(kept)
        nodes.append(node)
    replace_nodes(graph, nodes)


def _disown(graph: onnx.GraphProto) -> None:
    """Rename what has our prefix already, as in a part of a servable's graph: it is the network's own here.

    Outputs keep their names, by which the source is asked for them.
    """
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output}
    held = {tensor.name for tensor in graph.initializer}
    for old in sorted((made | held) - outputs):
        if old.startswith(GRAFT_PREFIX):
            _rename(graph, old, GIVEN_PREFIX + old)
    for node in graph.node:
        if is_grafted(node):
            node.name = GIVEN_PREFIX + node.name


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        _replace_in_node(node, old, new)
    for value in (*graph.input, *graph.output, *graph.initializer):
        if value.name == old:
            value.name = new


def _held(tensor: TensorProto) -> TensorProto:
    """Return a tensor with its values as bytes; one of a type that NumPy lacks, as bfloat16, stays as it is."""
    if tensor.HasField("raw_data") or tensor.data_type not in _NUMPY_TYPES:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor))


_NUMPY_TYPES = {
    *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL),
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
}

_CONSTANT_FORMS: dict[str, Callable[[onnx.AttributeProto], TensorProto]] = {
    "value": lambda attribute: _held(attribute.t),
    "value_float": lambda attribute: numpy_helper.from_array(np.array(attribute.f, np.float32)),
    "value_floats": lambda attribute: numpy_helper.from_array(floats(*attribute.floats)),
    "value_int": lambda attribute: numpy_helper.from_array(np.array(attribute.i, np.int64)),
    "value_ints": lambda attribute: numpy_helper.from_array(integers(*attribute.ints)),
}


def _replace(names: Any, old: str, new: str) -> None:  # noqa: ANN401 - protobuf's repeated field has no public type
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def _replace_in_node(node: NodeProto, old: str, new: str) -> None:
    """Rename a tensor in a node and in the graphs inside it, which may read tensors from outside."""
    _replace(node.input, old, new)
    _replace(node.output, old, new)
    for one in node.attribute:
        for inner in [one.g] if one.HasField("g") else one.graphs:
            for child in inner.node:
                _replace_in_node(child, old, new)
            for value in inner.output:
                if value.name == old:
                    value.name = new


def _refuse_foreign_operators(model: onnx.ModelProto) -> None:
    foreign = sorted(
        {f"{n.domain}:{n.op_type}" for n in model.graph.node if n.domain not in {"", "ai.onnx"}}
    )
    if foreign:
        raise GraphError(
            f"The graph has operators outside standard ONNX: {', '.join(foreign)}. A servable must run everywhere: "
            "export the network again without them"
        )
