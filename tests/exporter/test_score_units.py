"""Probabilities in a unit that a statement does not make right: other logarithms, whole percentages, and cut scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from exporter.errors import RecipeError
from exporter.outcome import Exported
from tests.exporter.exporting import export_to
from tests.exporter.found import CELLS, LABELS, boxes_of, scores_of
from tests.exporter.found import detector as found_detector
from tests.exporter.test_activation_end import adopted, network, op, truth
from tests.exporter.test_monotone_ends import number

Ends = Sequence[onnx.NodeProto]

CONSTANTS: dict[str, Any] = {
    "six": number(6),
    "none": number(0),
    "hundred": number(100),
    "ln_2": number(float(np.log(2))),
    "by_2": number(float(1 / np.log(2))),
    "ln_10": number(float(np.log(10))),
    "twice": number(2),
}
SOFTMAX = op("Softmax", output="p", axis=1)
SIGMOID = op("Sigmoid", output="p")
LOG = op("Log", "p", output="log")
PERCENT = (op("Mul", "p", "hundred", output="q"), op("Round", "q"))
FLOORED = (op("Mul", "p", "hundred", output="q"), op("Floor", "q"))


def export(folder: Path, end: Ends, stated: str, classes: int = 3, **fields: Any) -> Exported:
    model = network(*end, classes=classes, **CONSTANTS)
    labels = [f"kind {index}" for index in range(classes)]
    return adopted(folder, model, labels=labels, classify={"activation": stated}, **fields)[0]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ((SOFTMAX, LOG, op("Div", "log", "ln_2")), "to the base 2.*multiplied by 0.6931"),
        ((SIGMOID, LOG, op("Mul", "log", "by_2")), "to the base 2"),
        ((SIGMOID, LOG, op("Div", "log", "ln_10")), "to the base 10.*multiplied by 2.303"),
        ((op("LogSoftmax", output="log", axis=1), op("Div", "log", "ln_10")), "to the base 10"),
        ((SIGMOID, LOG, op("Mul", "log", "twice")), "times 2.*multiplied by 0.5"),
    ],
)
def test_logarithms_to_another_base_are_refused(tmp_path: Path, end: Ends, words: str) -> None:
    with pytest.raises(RecipeError, match=f"exp is for natural logarithms.*{words}"):
        export(tmp_path, end, "exp")


def test_values_alone_show_another_base(tmp_path: Path) -> None:
    """The graph hides the factor: log2 p as the logarithm of a power of p."""
    end = (SOFTMAX, op("Pow", "p", "by_2", output="power"), op("Log", "power"))
    with pytest.raises(RecipeError, match=r"logarithms to the base 2"):
        export(tmp_path, end, "exp")


def test_natural_logarithms_may_be_stated(tmp_path: Path) -> None:
    model = network(SIGMOID, op("Log", "p"))
    _, found = adopted(tmp_path, model, classify={"activation": "exp"})
    np.testing.assert_allclose(found["probabilities"], np.exp(truth(model)), atol=1e-6)


def test_a_detector_s_logarithms_to_another_base_are_refused(tmp_path: Path) -> None:
    model = found_detector(
        {"boxes": boxes_of(CELLS), "low": np.log(scores_of(CELLS) * 0.9)},
        after=[op("Exp", "low", output="p"), LOG, op("Div", "log", "ln_10", output="scores")],
        names=["boxes", "scores"],
        constants={"ln_10": CONSTANTS["ln_10"]},
    )
    onnx.save(model, tmp_path / "net.onnx")
    stated = {"score_activation": "exp"}
    with pytest.raises(RecipeError, match="logarithms to the base 10"):
        export_to(tmp_path, "onnx:net.onnx", task="detect", labels=LABELS, detect=stated)


@pytest.mark.parametrize("rounded", [PERCENT, FLOORED], ids=["rounded", "cut off"])
@pytest.mark.parametrize("classes", [3, 10])
def test_whole_percentages_of_one_whole_are_one_class_an_image(
    tmp_path: Path, rounded: Ends, classes: int
) -> None:
    """Rounded, they do not sum to 100."""
    end = (op("Div", "scores", "six", output="s"), op("Softmax", "s", output="p", axis=1), *rounded)
    model = network(*end, classes=classes, **CONSTANTS)
    assert set(truth(model).sum(axis=1)) != {100}
    done, found = adopted(
        tmp_path,
        model,
        labels=[f"kind {index}" for index in range(classes)],
        classify={"activation": "percent"},
    )
    assert not done.card.multi_label
    np.testing.assert_allclose(found["probabilities"], truth(model) / 100, atol=1e-6)


def test_whole_percentages_of_each_label_are_several_labels_an_image(tmp_path: Path) -> None:
    done, _ = adopted(
        tmp_path,
        network(SIGMOID, *PERCENT, **CONSTANTS),
        classify={"activation": "percent"},
    )
    assert done.card.multi_label


def test_many_whole_percentages_of_which_most_are_zero_are_asked_about(tmp_path: Path) -> None:
    even = op("Div", "scores", "hundred", output="s")
    end = (even, op("Softmax", "s", output="p", axis=1), *FLOORED)
    with pytest.raises(RecipeError, match=r"one class, or may have several.*--multi-label"):
        export(tmp_path, end, "percent", 40)
    export(tmp_path, end, "percent", 40, multi_label=True)


def test_whole_percentages_are_no_logits(tmp_path: Path) -> None:
    for stated in ("softmax", "sigmoid"):
        with pytest.raises(RecipeError, match=r"never negative.*--activation percent"):
            export(tmp_path, (SIGMOID, *PERCENT), stated)


def test_scores_that_are_cut_at_six_are_no_percentages(tmp_path: Path) -> None:
    end = [op("Clip", "scores", "none", "six")]
    with pytest.raises(RecipeError, match=r"cuts off those of a linear layer at 6.*--outputs"):
        export(tmp_path, end, "percent")
    with pytest.raises(RecipeError, match=r"can not be known.*--activation"):
        adopted(tmp_path, network(*end, **CONSTANTS))
