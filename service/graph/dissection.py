"""A servable's graph laid open: with its inner maps as outputs, and what can be read of it without running it."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from service.card import Card
from service.graph.first_layer import FirstLayer, first_layer
from service.graph.linear_head import LinearHead, find_linear_head
from service.graph.receptive_field import ReceptiveField, receptive_fields
from service.graph.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What is known of a network besides its card.

    `head` is None where the logits are no linear function of a pooled map. `fields` by tensor: those of the stages and
    of the map that the head pools.
    """

    first: FirstLayer | None
    head: LinearHead | None
    fields: dict[str, ReceptiveField]


@dataclass(frozen=True, slots=True)
class Dissection:
    """`graph` is the serialized model; it also gives every stage's map and the one that the head pools."""

    anatomy: Anatomy
    graph: bytes


def dissect(path: Path, card: Card) -> Dissection:
    """Return a servable's anatomy and its graph with the inner maps as outputs; blocking."""
    model = onnx.load(path)
    wiring = Wiring(model.graph)
    head = find_linear_head(wiring) if card.task == "classify" else None
    inner = [stage.tensor for stage in card.stages] + ([head.map] if head else [])
    fields = receptive_fields(wiring, inner)
    _add_outputs(model, inner)
    return Dissection(Anatomy(first_layer(wiring), head, fields), model.SerializeToString())


def _add_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    """ONNX Runtime infers the types of outputs that are only named."""
    known = {value.name for value in model.graph.output}
    for name in dict.fromkeys(names):
        if name not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
