"""Scores that can be no logits as they are, tanh, cosines and distances, need an option; logits like them do not.

The right values are those of the source file in ONNX Runtime, and NumPy's softmax of them.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from exporter.errors import RecipeError
from exporter.graph import integers
from tests.exporter.exporting import export_to
from tests.exporter.test_activation_end import adopted, network, op, truth

LENGTH_ONE = (op("ReduceL2", "scores", "axis", output="length"), op("Div", "scores", "length"))
ONE, TWO = np.array(1, np.float32), np.array(2, np.float32)
WEIGHTS = np.array([[0.6, -0.8, 0], [0, 0.6, 0.8], [1, 0, 0]], np.float32)


def unit(*end: onnx.NodeProto, how: str = "ReduceL2") -> onnx.ModelProto:
    """Return a graph whose `scores` are a product with vectors of the length one, and `end` behind them."""
    if how == "LpNormalization":
        lengths = [op("LpNormalization", "pooled_scores", output="unit", axis=1, p=2)]
    elif how == "ReduceL2":
        lengths = [
            op("ReduceL2", "pooled_scores", "axis", output="length"),
            op("Clip", "length", "least", output="bounded"),
            op("Div", "pooled_scores", "bounded", output="unit"),
        ]
    else:
        lengths = [
            op("Mul", "pooled_scores", "pooled_scores", output="squares"),
            op("ReduceSum", "squares", "axis", output="sum"),
            op("Sqrt", "sum", output="length"),
            op("Reciprocal", "length", output="inverse"),
            op("Mul", "pooled_scores", "inverse", output="unit"),
        ]
    model = network(
        op("Identity", "scores", output="pooled_scores"),
        *lengths,
        op("MatMul", "unit", "table", output="cosines"),
        *(end or (op("Identity", "cosines"),)),
        axis=integers(1),
        least=np.array(1e-12, np.float32),
        table=WEIGHTS,
        factor=np.array(30, np.float32),
        one=ONE,
        two=TWO,
    )
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ((op("Tanh"),), "tanh"),
        ((op("Erf"),), "tanh"),
        ((op("Softsign"),), "tanh"),
        ((op("Tanh", output="t"), op("Flatten", "t")), "tanh"),
        ((op("Clip", "scores", "low", "high"),), "-1 to 1"),
        (LENGTH_ONE, "-1 to 1"),
    ],
    ids=["tanh", "erf", "softsign", "behind a reshape", "clipped", "vector of length one"],
)
def test_scores_between_minus_one_and_one_need_an_option(
    tmp_path: Path, end: tuple[onnx.NodeProto, ...], words: str
) -> None:
    model = network(
        *end, axis=integers(1), low=np.array(-1, np.float32), high=np.array(1, np.float32)
    )
    found = truth(model)
    assert found.min() < 0
    assert np.abs(found).max() <= 1

    with pytest.raises(RecipeError, match=words) as refused:
        adopted(tmp_path, model)

    assert "--activation softmax or sigmoid" in str(refused.value)
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("how", ["ReduceL2", "LpNormalization", "squares"])
def test_cosines_need_an_option(tmp_path: Path, how: str) -> None:
    with pytest.raises(RecipeError, match="cosines") as refused:
        adopted(tmp_path, unit(how=how))

    assert "scores * s" in str(refused.value)


@pytest.mark.parametrize("how", ["ReduceL2", "LpNormalization", "squares"])
def test_cosines_with_their_factor_are_logits(tmp_path: Path, how: str) -> None:
    model = unit(op("Mul", "cosines", "factor"), how=how)
    scores = truth(model)
    assert np.abs(scores).max() > 1

    _, found = adopted(tmp_path, model)

    power = np.exp(scores)
    right = power / power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["probabilities"], right, atol=1e-4)


DISTANCES = {
    "1 - cos": (op("Sub", "one", "cosines"),),
    "(1 - cos) / 2": (op("Sub", "one", "cosines", output="d"), op("Div", "d", "two")),
    "30 (1 - cos)": (op("Sub", "one", "cosines", output="d"), op("Mul", "d", "factor")),
    "-cos": (op("Neg", "cosines"),),
    "-30 cos": (op("Mul", "cosines", "factor", output="s"), op("Neg", "s")),
}


@pytest.mark.parametrize("end", DISTANCES)
def test_cosine_distances_need_an_option_since_the_best_one_is_the_smallest(
    tmp_path: Path, end: str
) -> None:
    model = unit(*DISTANCES[end])

    with pytest.raises(RecipeError, match="turns the sign") as refused:
        adopted(tmp_path, model)

    assert "state --activation softmax or sigmoid" in str(refused.value)
    _, found = adopted(tmp_path, model, classify={"activation": "softmax"})
    np.testing.assert_array_equal(
        found["probabilities"].argmax(axis=1), truth(model).argmax(axis=1)
    )


def test_cosines_moved_to_zero_and_one_need_an_option(tmp_path: Path) -> None:
    moved = (op("Add", "cosines", "one", output="s"), op("Div", "s", "two"))

    with pytest.raises(RecipeError, match="almost the same probability"):
        adopted(tmp_path, unit(*moved))


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        (op("Neg"),),
        (op("Sub", "two", "scores"),),
        (op("Mul", "scores", "minus"),),
        (op("Div", "scores", "minus", output="s"), op("Sub", "s", "two")),
        (
            op("Unsqueeze", "scores", "axis", output="one"),
            op("Mul", "one", "weights", output="m"),
            op("ReduceSum", "m", "axis", keepdims=0, output="s"),
            op("Neg", "s"),
        ),
        (op("ReduceMax", "scores", "axis", output="best"), op("Sub", "best", "scores")),
        (
            op("ReduceMax", "scores", "axis", keepdims=0, output="best"),
            op("Unsqueeze", "best", "axis", output="column"),
            op("Sub", "scores", "column", output="s"),
            op("Mul", "s", "minus"),
        ),
    ],
    ids=[
        *("negated", "subtracted", "multiplied", "divided", "a product written as a sum"),
        *("a distance to the best", "a negated distance to the best"),
    ],
)
def test_logits_with_a_turned_sign_need_an_option(
    tmp_path: Path, end: tuple[onnx.NodeProto, ...], *, maps: bool
) -> None:
    model = network(*end, maps=maps, two=TWO, minus=-TWO, axis=integers(1), weights=TWO)
    task = {"task": "segment", "labels": ("a", "b", "c")} if maps else {}

    with pytest.raises(RecipeError, match="turns the sign"):
        adopted(tmp_path, model, **task)


@pytest.mark.parametrize(
    "end",
    [
        (op("Neg", output="n"), op("Neg", "n")),
        (op("Mul", "scores", "minus", output="m"), op("Sub", "two", "m")),
        (op("ReduceMax", "scores", "axis", output="best"), op("Sub", "scores", "best")),
        # Trained factors of each class, two of them negative.
        (op("Mul", "scores", "each"),),
        # Sums of squares and their like.
        (op("Abs", output="a"), op("MatMul", "a", "square", output="d"), op("Neg", "d")),
        (op("Mul", "scores", "scores", output="a"), op("MatMul", "a", "square", output="d"), op("Sub", "two", "d")),
        (op("Einsum", "scores", "square", "scores", equation="ni,ij,nj->n", output="d"),
         op("Unsqueeze", "d", "axis", output="column"), op("Sub", "scores", "column")),
    ],
    ids=["twice", "a negative factor", "from the best", "each", "absolute values", "squares", "a form of squares"],
)  # fmt: skip
def test_logits_of_the_right_sign_and_negative_distances_need_none(
    tmp_path: Path, end: tuple[onnx.NodeProto, ...]
) -> None:
    model = network(
        *end,
        two=TWO,
        minus=-TWO,
        axis=integers(1),
        each=np.array([-1, -2, 3], np.float32),
        square=np.eye(3, dtype=np.float32),
    )

    _, found = adopted(tmp_path, model)

    np.testing.assert_array_equal(
        found["probabilities"].argmax(axis=1), truth(model).argmax(axis=1)
    )


def test_small_logits_of_a_linear_layer_are_logits(tmp_path: Path) -> None:
    model = network(op("Mul", "scores", "tenth"), tenth=np.array(0.1, np.float32))
    scores = truth(model)
    assert scores.min() < 0
    assert np.abs(scores).max() < 1

    _, found = adopted(tmp_path, model)

    power = np.exp(scores)
    np.testing.assert_allclose(
        found["probabilities"], power / power.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_what_is_stated_of_a_tanh_is_taken(tmp_path: Path) -> None:
    model = network(op("Tanh"))

    _, found = adopted(tmp_path, model, classify={"activation": "softmax"})

    power = np.exp(truth(model))
    np.testing.assert_allclose(
        found["probabilities"], power / power.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_the_tensor_before_a_tanh_can_be_named(tmp_path: Path) -> None:
    small = op("Mul", "scores", "hundredth", output="small")
    model = network(small, op("Tanh", "small"), hundredth=np.array(0.01, np.float32))

    _, found = adopted(tmp_path, model, outputs=("small",))

    power = np.exp(np.arctanh(truth(model).astype(np.float64)))
    np.testing.assert_allclose(
        found["probabilities"], power / power.sum(axis=1, keepdims=True), atol=1e-4
    )


def test_distances_need_an_option_since_the_best_one_is_the_smallest(tmp_path: Path) -> None:
    squares = [
        op("Unsqueeze", "scores", "last", output="columns"),
        op("Sub", "columns", "prototypes", output="apart"),
        op("ReduceL2", "apart", "axis", keepdims=0),
    ]
    model = network(
        *squares, last=integers(-1), axis=integers(1), prototypes=10 * WEIGHTS[None] - 5
    )
    assert truth(model).min() > 0

    with pytest.raises(RecipeError, match="distances"):
        adopted(tmp_path, model)


def of_squares(*end: onnx.NodeProto) -> onnx.ModelProto:
    """Return a graph whose `distances` are sums of squares, and `end` behind them."""
    return network(
        op("Unsqueeze", "scores", "last", output="columns"),
        op("Sub", "columns", "prototypes", output="apart"),
        op("Mul", "apart", "apart", output="squares"),
        op("ReduceSum", "squares", "axis", keepdims=0, output="distances"),
        *end,
        last=integers(-1),
        axis=integers(1),
        prototypes=10 * WEIGHTS[None] - 5,
    )


def test_squared_distances_need_an_option_too_and_their_negatives_do_not(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the negative distance"):
        adopted(tmp_path, of_squares(op("Identity", "distances")))

    model = of_squares(op("Neg", "distances"))
    _, found = adopted(tmp_path, model)
    np.testing.assert_array_equal(
        found["probabilities"].argmax(axis=1), truth(model).argmax(axis=1)
    )


def test_a_mask_that_ends_in_a_tanh_needs_an_option(tmp_path: Path) -> None:
    model = network(op("Tanh"), classes=1, maps=True)

    with pytest.raises(RecipeError, match="tanh"):
        adopted(tmp_path, model, task="segment", labels=("background", "object"))


def test_maps_of_negative_log_probabilities_are_refused(tmp_path: Path) -> None:
    model = network(op("LogSoftmax", axis=1, output="log"), op("Neg", "log"), maps=True)

    with pytest.raises(RecipeError, match=r"negative log-softmax.*without the change of sign"):
        adopted(tmp_path, model, task="segment", labels=("a", "b", "c"))


class Arc(nn.Module):
    """A face network's head: cosines with the class vectors, without the factor of its training."""

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.classes = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(3, 8))
        self.factor, self.offset = factor, offset

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.conv(pixels).mean((2, 3))
        cosines = functional.linear(
            functional.normalize(features), functional.normalize(self.classes)
        )
        return self.factor * cosines + self.offset


def test_cosines_of_a_python_network_need_an_option(tmp_path: Path) -> None:
    fields = {
        "weights": "none",
        "labels": ("a", "b", "c"),
        "input": {"height": 16, "width": 16},
    }
    with pytest.raises(RecipeError, match="cosines"):
        export_to(tmp_path, f"python:{__name__}:Arc", **fields)

    distance = {"factor": -1.0, "offset": 1.0}
    with pytest.raises(RecipeError, match="turns the sign"):
        export_to(tmp_path, f"python:{__name__}:Arc", arguments=distance, **fields)

    done = export_to(tmp_path, f"python:{__name__}:Arc", arguments={"factor": 30.0}, **fields)

    assert done.card.certificate.max_difference < 1e-3
