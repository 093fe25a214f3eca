"""Cosines are products with a vector that the graph itself has brought to the length one."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from exporter.graph import Graph
from exporter.heads.cosines import are_cosines
from tests.exporter.graphs import normal, pixel_graph


def op(name: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), [output], **attributes)


def cosines(*nodes: NodeProto) -> bool:
    """Return the judgment of a graph's `out`; `x` are features, `w` weights, `few` is a small number."""
    features = op("Flatten", "pixels", "x")
    constants = {"w": normal(768, 4), "few": np.array([1e-12], np.float32)}
    return are_cosines(Graph(pixel_graph(features, *nodes, outputs=["out"], **constants)), "out")


PRODUCT = op("MatMul", "unit w", "out")

LENGTHS = {
    "LpNormalization": [op("LpNormalization", "x", "unit", axis=1)],
    "torch.nn.functional.normalize": [
        op("ReduceL2", "x", "l"),
        op("Clip", "l few", "c"),
        op("Shape", "x", "s"),
        op("Expand", "c s", "e"),
        op("Div", "x e", "unit"),
    ],
    "squares": [
        op("Mul", "x x", "sq"),
        op("ReduceSum", "sq", "sum"),
        op("Sqrt", "sum", "l"),
        op("Div", "x l", "unit"),
    ],
    "a power": [
        op("Pow", "x few", "sq"),
        op("ReduceSum", "sq", "sum"),
        op("Pow", "sum few", "l"),
        op("Div", "x l", "unit"),
    ],
    "a sum of squares": [
        op("ReduceSumSquare", "x", "sum"),
        op("Add", "sum few", "a"),
        op("Sqrt", "a", "l"),
        op("Reciprocal", "l", "r"),
        op("Mul", "r x", "unit"),
    ],
    "moved behind it": [op("LpNormalization", "x", "n"), op("Reshape", "n few", "unit")],
}


@pytest.mark.parametrize("how", LENGTHS)
def test_a_product_with_a_vector_of_length_one_is_a_cosine(how: str) -> None:
    assert cosines(*LENGTHS[how], PRODUCT)


@pytest.mark.parametrize("name", ["MatMul", "Gemm", "Conv", "Einsum"])
def test_every_product_counts_and_either_factor(name: str) -> None:
    unit = op("LpNormalization", "x", "unit")

    assert cosines(unit, op(name, "unit w", "out"))
    assert cosines(unit, op(name, "w unit", "out"))
    assert cosines(unit, op(name, "unit w", "p"), op("Squeeze", "p", "out"))


@pytest.mark.parametrize(
    "nodes",
    [
        [op("MatMul", "x w", "out")],
        # A factor behind the product, or another operator than a product.
        [op("LpNormalization", "x", "unit"), op("MatMul", "unit w", "p"), op("Mul", "p few", "out")],
        [op("LpNormalization", "x", "unit"), op("Add", "unit w", "out")],
        # A division by something else than the length.
        [op("Div", "x few", "unit"), PRODUCT],
        [op("ReduceMax", "x", "l"), op("Div", "x l", "unit"), PRODUCT],
        [op("ReduceSum", "x", "l"), op("Div", "x l", "unit"), PRODUCT],
        [op("Exp", "x", "e"), op("ReduceSum", "e", "l"), op("Div", "e l", "unit"), PRODUCT],
        [op("ReduceL2", "x", "l"), op("Exp", "l", "e"), op("Div", "x e", "unit"), PRODUCT],
        # The length is divided, not divided by.
        [op("ReduceL2", "x", "l"), op("Div", "l x", "unit"), PRODUCT],
        [op("ReduceL2", "x", "l"), op("Sub", "x l", "unit"), PRODUCT],
        # The vector is changed after it had the length one.
        [op("LpNormalization", "x", "n"), op("Relu", "n", "unit"), PRODUCT],
    ],
)  # fmt: skip
def test_other_products_are_no_cosines(nodes: list[NodeProto]) -> None:
    assert not cosines(*nodes)


def test_the_image_itself_is_no_cosine() -> None:
    assert not cosines(op("Identity", "x", "out"))
