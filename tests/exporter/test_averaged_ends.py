"""Probabilities that are averaged, summed, enlarged or set beside logits are activated no second time."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from exporter.errors import RecipeError
from exporter.heads.metrics import resize_bilinear
from tests.exporter.test_activation_end import SIDE, adopted, network, op, truth

BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32)[None, None] / 16
FACE = ("background", "face")
TWICE = np.array([1, 1, 2, 2], np.float32)
GROUPS = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.float32)
VIEWS = np.array([[0.5, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0.5, 0.5], [0, 0, 0.5]], np.float32)
STRONG = np.array(20, np.float32)


def strong_scores() -> list[onnx.NodeProto]:
    """Return nodes that make clear logits of the scores of a photograph, about as many above 0 as below."""
    return [
        op("GlobalAveragePool", output="mean"),
        op("Sub", "scores", "mean", output="centered"),
        op("Mul", "centered", "strong", output="s"),
    ]


def test_a_map_of_a_sigmoid_may_be_blurred(tmp_path: Path) -> None:
    model = network(
        *strong_scores(),
        op("Sigmoid", "s", output="p"),
        op("Conv", "p", "blur", pads=[1, 1, 1, 1]),
        classes=1,
        maps=True,
        strong=STRONG,
        blur=BLUR,
    )

    _, outputs = adopted(tmp_path, model, task="segment", labels=FACE)

    right = resize_bilinear(truth(model), (SIDE, SIDE))[:, 0] > 0.5
    assert 0.1 < right.mean() < 0.9
    assert (outputs["mask"] != right).mean() < 0.01


@pytest.mark.parametrize("activation", ["Sigmoid", "Softmax"])
def test_views_of_a_label_may_be_averaged(activation: str, tmp_path: Path) -> None:
    model = network(op(activation, output="p"), op("MatMul", "p", "views"), classes=5, views=VIEWS)

    _, outputs = adopted(tmp_path, model)

    np.testing.assert_allclose(outputs["probabilities"], truth(model), atol=1e-5)


def test_sums_over_groups_of_classes_are_asked_about(tmp_path: Path) -> None:
    model = network(
        op("Softmax", output="p", axis=1), op("MatMul", "p", "groups"), classes=5, groups=GROUPS
    )

    with pytest.raises(RecipeError, match=r"may be probabilities or logits.*--activation none"):
        adopted(tmp_path, model)

    _, outputs = adopted(tmp_path, model, classify={"activation": "none"})
    np.testing.assert_allclose(outputs["probabilities"], truth(model), atol=1e-5)


def test_a_trained_layer_behind_a_sigmoid_gives_logits(tmp_path: Path) -> None:
    signed = np.random.default_rng(3).standard_normal((5, 3)).astype(np.float32)
    model = network(
        op("Sigmoid", output="p"), op("MatMul", "p", "signed"), classes=5, signed=signed
    )

    _, outputs = adopted(tmp_path, model)

    power = np.exp(truth(model))
    np.testing.assert_allclose(
        outputs["probabilities"], power / power.sum(axis=1, keepdims=True), atol=1e-5
    )


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("stated", [None, "sigmoid"])
def test_a_cubic_resize_of_a_sigmoid_is_refused(
    classes: int, stated: str | None, tmp_path: Path
) -> None:
    model = network(
        *strong_scores(),
        op("Sigmoid", "s", output="p"),
        op("Resize", "p", "", "twice", mode="cubic"),
        classes=classes,
        maps=True,
        strong=STRONG,
        twice=TWICE,
    )
    labels = FACE if classes == 1 else ("a", "b", "c")
    stating = {"segment": {"activation": stated}} if stated else {}

    with pytest.raises(RecipeError, match="bilinear resize"):
        adopted(tmp_path, model, task="segment", labels=labels, **stating)


@pytest.mark.parametrize("activation", ["Sigmoid", "Softmax"])
def test_logits_beside_probabilities_are_refused(activation: str, tmp_path: Path) -> None:
    model = network(
        op("Mul", "scores", "strong", output="s"),
        op(activation, "scores", output="p"),
        op("Concat", "s", "p", axis=1),
        strong=STRONG,
    )

    with pytest.raises(RecipeError, match="come from a softmax or sigmoid, but are not all"):
        adopted(tmp_path, model, labels=tuple("abcdef"))
