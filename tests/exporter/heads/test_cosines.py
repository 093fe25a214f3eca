"""Cosines are products with a vector that the graph itself has brought to the length one, times and plus constants."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from exporter.graph import Graph
from exporter.heads.affine import Affine
from exporter.heads.cosines import are_plain, cosine_form
from tests.exporter.graphs import normal, pixel_graph


def op(name: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), [output], **attributes)


def form(*nodes: NodeProto) -> Affine | None:
    """Return the form of a graph's `out`; `x` are features, `w` weights, `few` is a small number."""
    features = op("Flatten", "pixels", "x")
    constants = {
        "w": normal(768, 4),
        "few": np.array([1e-12], np.float32),
        "one": np.array(1, np.float32),
        "two": np.array(2, np.float32),
        "minus": np.array(-3, np.float32),
        "each": np.array([-1, -2, 1, 2], np.float32),
    }
    return cosine_form(Graph(pixel_graph(features, *nodes, outputs=["out"], **constants)), "out")


def cosines(*nodes: NodeProto) -> bool:
    return form(*nodes) is not None


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
        # Another operator than a product.
        [op("LpNormalization", "x", "unit"), op("Add", "unit w", "out")],
        # A division by something else than the length.
        [op("Div", "x few", "unit"), PRODUCT],
        [op("ReduceMax", "x", "l"), op("Div", "x l", "unit"), PRODUCT],
        [op("ReduceSum", "x", "l"), op("Div", "x l", "unit"), PRODUCT],
        [op("Exp", "x", "e"), op("ReduceSum", "e", "l"), op("Div", "e l", "unit"), PRODUCT],
        [op("ReduceL2", "x", "l"), op("Exp", "l", "e"), op("Div", "x e", "unit"), PRODUCT],
        # A product that is divided by something else than lengths; a square.
        [op("Mul", "x w", "m"), op("ReduceSum", "m", "s"), op("Div", "s two", "out")],
        [op("LpNormalization", "x", "unit"), op("Mul", "unit unit", "m"), op("ReduceSum", "m", "out")],
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


UNIT = op("LpNormalization", "x", "unit")
COSINES = op("MatMul", "unit w", "p")


@pytest.mark.parametrize(
    ("nodes", "factor", "offset"),
    [
        ([COSINES, op("Identity", "p", "out")], (1, 1), (0, 0)),
        ([COSINES, op("Mul", "two p", "out")], (2, 2), (0, 0)),
        ([COSINES, op("Add", "p one", "a"), op("Div", "a two", "out")], (0.5, 0.5), (0.5, 0.5)),
        ([COSINES, op("Neg", "p", "out")], (-1, -1), (0, 0)),
        ([COSINES, op("Sub", "one p", "out")], (-1, -1), (1, 1)),
        ([COSINES, op("Sub", "p one", "out")], (1, 1), (-1, -1)),
        ([COSINES, op("Sub", "one p", "d"), op("Div", "d two", "out")], (-0.5, -0.5), (0.5, 0.5)),
        ([COSINES, op("Mul", "p minus", "m"), op("Neg", "m", "out")], (3, 3), (0, 0)),
        ([COSINES, op("Mul", "p each", "out")], (-2, 2), (0, 0)),
        ([COSINES, op("Sub", "each p", "out")], (-1, -1), (-2, 2)),
        # The constant may stand before the product.
        ([op("Neg", "unit", "n"), op("MatMul", "n w", "out")], (-1, -1), (0, 0)),
        ([op("Mul", "unit two", "n"), op("MatMul", "n w", "p"), op("Sub", "two p", "out")], (-2, -2), (2, 2)),
        ([op("Gemm", "unit w", "out", alpha=-2.0)], (-2, -2), (0, 0)),
        # Products that are written as sums, and divided by both lengths.
        ([op("Mul", "unit w", "m"), op("ReduceSum", "m", "s"), op("Neg", "s", "out")], (-1, -1), (0, 0)),
        (
            [
                op("Mul", "x w", "m"),
                op("ReduceSum", "m", "s"),
                op("ReduceSumSquare", "x", "l"),
                op("Mul", "l two", "ll"),
                op("Sqrt", "ll", "r"),
                op("Div", "s r", "p"),
                op("Sub", "one p", "out"),
            ],
            (-1, -1),
            (1, 1),
        ),
    ],
)  # fmt: skip
def test_constants_around_cosines_are_found(
    nodes: list[NodeProto], factor: tuple[float, float], offset: tuple[float, float]
) -> None:
    found = form(UNIT, *nodes)

    assert found is not None
    assert (found.factor, found.offset) == (factor, offset)
    assert found.falls == (factor[0] == factor[1] and factor[0] < 0)


@pytest.mark.parametrize(
    ("factor", "offset", "limits", "expected"),
    [
        (1, 0, (-0.9, 0.9), True),
        (0.5, 0.5, (0.1, 0.9), True),
        (1, 1, (0.0, 2.0), True),
        # Values beyond what cosines can be, a factor of a training, a turned sign.
        (1, 0, (-0.9, 1.2), False),
        (0.5, 0.5, (-0.2, 0.9), False),
        (20, 0, (-9.0, 9.0), False),
        (-1, 1, (0.0, 2.0), False),
    ],
)
def test_cosines_without_a_larger_factor_are_plain(
    factor: float, offset: float, limits: tuple[float, float], *, expected: bool
) -> None:
    found = Affine("p", (factor, factor), (offset, offset))

    assert are_plain(found, *limits, 1e-3) == expected
