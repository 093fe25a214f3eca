"""A servable's ONNX file → what its graph says about the network, and the graph with inner maps as outputs."""

from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError

from service.card import Card
from service.graph.first_layer import FirstLayer, first_layer
from service.graph.linear_head import (
    LastLayer,
    LinearHead,
    find_last_layer,
    find_linear_head,
)
from service.graph.opening import Opening, find_opening
from service.graph.receptive_field import ReceptiveField, receptive_fields
from service.graph.run_memory import run_bytes
from service.graph.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What explanations need to know about a network and its card does not say, read from the graph.

    `first` is the first convolution, None where there is none. `head` is None where the logits are not a linear
    function of a pooled map. `fields` has the receptive field of each stage's map and of the map that the head pools,
    by the name of the tensor; a tensor that does not depend on the image has none. `opening` is None where `first` is.
    `last` is None where the logits are not a linear function of a vector. `lacking` names the stages of the card whose
    tensors are not in the graph.
    """

    first: FirstLayer | None
    head: LinearHead | None
    fields: dict[str, ReceptiveField]
    opening: Opening | None = None
    last: LastLayer | None = None
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstrumentedGraph:
    """A network's anatomy, and its serialized ONNX model with inner maps added to its outputs.

    `graph` has the file's outputs, then the map of each stage of the card that it has, the map that the head pools, the
    tensors of the opening, and the vector that the last layer weighs. `run_bytes` is what `run_memory` says of it.
    """

    anatomy: Anatomy
    run_bytes: int
    graph: bytes = field(repr=False)


def instrument_graph(path: Path, card: Card) -> InstrumentedGraph:
    """Read a servable's file and add its inner maps to the outputs; the file itself stays as it is.

    It reads all weights, so it blocks for as long as the disk needs. The file was loaded before: where it can not be
    read or written again, there is no memory for it.

    Raises:
        MemoryError: there is not enough memory.
        OSError: the file can not be read.
    """
    try:
        return _instrumented(onnx.load(path), card)
    except (DecodeError, EncodeError) as error:
        raise MemoryError(f"{path}: {error}") from error


def _instrumented(model: onnx.ModelProto, card: Card) -> InstrumentedGraph:
    wiring = Wiring(model.graph)
    head = find_linear_head(wiring) if card.task == "classify" else None
    lacking = tuple(one.name for one in card.stages if wiring.producer(one.tensor) is None)
    stages = [one.tensor for one in card.stages if one.name not in lacking]
    inner = stages + ([head.map] if head else [])
    fields = receptive_fields(wiring, inner)
    opening = find_opening(wiring)
    last = find_last_layer(wiring) if card.task == "classify" else None
    opened = opening.tensors if opening else []
    _add_outputs(model, [*inner, *opened, *([last.input] if last else [])])
    anatomy = Anatomy(first_layer(wiring), head, fields, opening, last, lacking)
    return InstrumentedGraph(anatomy, run_bytes(model), model.SerializeToString())


def _add_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    """Append outputs by name; ONNX Runtime infers their types."""
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    for name in dict.fromkeys(names):
        if name not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
