"""Tiny servables that tests can understand: a network that says which color an image has most of."""

from datetime import date
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from service.card import CARD_KEY, Card, Certificate, Cost, Digest, ImageInput
from service.servable_file import graph_sha256

COLORS = ("red", "green", "blue")
SIDE = 8


def color_model(
    side: int = SIDE, *, batch: int | str = "N", input_name: str = "image"
) -> onnx.ModelProto:
    """Return a classifier whose logits are the mean of each channel, in 0–10."""
    image = helper.make_tensor_value_info(input_name, TensorProto.UINT8, [batch, side, side, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3])
        for name in ("logits", "probabilities", "features")
    ]
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [25.5])
    nodes = [
        helper.make_node("Cast", [input_name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["features"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["features", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(nodes, "colors", [image], outputs, [scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def swapped_colors() -> onnx.ModelProto:
    """Return a network that takes blue for red."""
    model = color_model()
    (mean,) = (node for node in model.graph.node if node.op_type == "ReduceMean")
    model.graph.initializer.append(helper.make_tensor("order", TensorProto.INT64, [3], [2, 1, 0]))
    mean.output[0] = "means"
    model.graph.node.insert(2, helper.make_node("Gather", ["means", "order"], ["features"], axis=1))
    return model


def own_largest_model() -> onnx.ModelProto:
    """Return a classifier that divides by the image's largest value: for a black image its outputs are NaN."""
    model = color_model()
    nodes = model.graph.node
    (division,) = (node for node in nodes if node.op_type == "Div")
    division.input[1] = "largest"
    largest = helper.make_node("ReduceMax", ["features"], ["largest"], axes=[1], keepdims=1)
    nodes.insert(list(nodes).index(division), largest)
    return model


def color_card(side: int = SIDE, digest: str = "0" * 64, kind: Digest = 2) -> Card:
    return Card(
        name="colors",
        task="classify",
        title="Which color is it",
        labels=COLORS,
        license="Apache-2.0",
        source="made by a test",
        input=ImageInput(height=side, width=side, resize="stretch"),
        cost=Cost(parameters=1, macs=1000, activation_bytes=100),
        certificate=Certificate(
            reference="itself",
            batches=(1,),
            max_difference=0,
            tolerance=1e-6,
            metric="top1",
            agreement=1,
            images=1,
            tools={"onnx": onnx.__version__},
            date=date(2026, 1, 1),
            graph_sha256=digest,
            digest=kind,
        ),
    )


def write_servable(
    root: Path,
    name: str = "colors",
    version: int | str = 1,
    *,
    model: onnx.ModelProto | None = None,
    card: Card | None = None,
) -> Path:
    """Write a servable whose certificate holds, and return the file."""
    path = root / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    model = model or color_model()
    path.write_bytes(model.SerializeToString())
    card = card or color_card()
    digest = graph_sha256(path, card.certificate.digest)
    proof = card.certificate.model_copy(update={"graph_sha256": digest})
    card = card.model_copy(update={"certificate": proof})
    helper.set_model_props(model, {CARD_KEY: card.model_dump_json()})
    path.write_bytes(model.SerializeToString())
    return path
