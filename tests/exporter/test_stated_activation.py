"""An activation that is stated must suit the scores: percentages and logarithms are no logits, and have their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from exporter.encoding import as_png
from exporter.errors import RecipeError
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.found import CELLS, LABELS, SCORES, SIDE, boxes_of, scores_of
from tests.exporter.found import detector as found_detector
from tests.exporter.test_activation_end import ABC, adopted, detector, network, op, truth
from tests.exporter.test_monotone_ends import FRAME, by_runtime, number
from tests.live import serve

Ends = Sequence[onnx.NodeProto]

HUNDRED: dict[str, Any] = {"hundred": number(100), "unit": number(1)}
MINUS_SIGMOID: Ends = (op("Sigmoid", output="p"), op("Sub", "unit", "p"))
LOG_SIGMOID: Ends = (op("Sigmoid", output="p"), op("Log", "p"))
PERCENT_OF_SIGMOID: Ends = (op("Sigmoid", output="p"), op("Mul", "p", "hundred"))
PERCENT_OF_SOFTMAX: Ends = (op("Softmax", output="p", axis=1), op("Mul", "p", "hundred"))
ROUNDED: Ends = (*PERCENT_OF_SIGMOID[:1], op("Mul", "p", "hundred", output="q"), op("Round", "q"))
BY_HAND: Ends = (
    op("Neg", output="minus"),
    op("Exp", "minus", output="power"),
    op("Add", "power", "unit", output="sum"),
    op("Div", "hundred", "sum"),
)


@pytest.mark.parametrize(
    ("end", "stated", "message"),
    [
        (PERCENT_OF_SOFTMAX, "softmax", "--activation softmax is for logits.*--activation percent"),
        (PERCENT_OF_SOFTMAX, "sigmoid", "--activation sigmoid is for logits.*--activation percent"),
        (PERCENT_OF_SIGMOID, "sigmoid", "times a factor, as percentages.*--activation percent"),
        (ROUNDED, "sigmoid", "never negative.*at least 0.5 in every image.*--activation percent"),
        (BY_HAND, "sigmoid", "never negative.*--activation percent"),
        (LOG_SIGMOID, "sigmoid", "as logarithms of probabilities are\\. Give --activation exp"),
        (LOG_SIGMOID, "softmax", "as logarithms of probabilities are\\. Give --activation exp"),
        (MINUS_SIGMOID, "sigmoid", "0 to 1, and no linear layer.*Give --activation none"),
        (MINUS_SIGMOID, "softmax", "0 to 1, and no linear layer.*Give --activation none"),
        (PERCENT_OF_SIGMOID, "none", "probabilities, but they are.*percent if they are percent"),
        (LOG_SIGMOID, "none", "They are logarithms of probabilities: give --activation exp"),
        ([op("Sigmoid")], "percent", "as probabilities are. Give --activation none"),
        ([op("Sigmoid")], "exp", "never positive, but.*none if they are probabilities"),
        ([op("Identity")], "percent", "says that the scores are 0 to 100, but.*softmax or sigmoid"),
        ([op("Identity")], "exp", "logarithms of probabilities, which are never positive, but"),
    ],
)
def test_a_classifier_s_activation_that_its_scores_contradict_is_refused(
    tmp_path: Path, end: Ends, stated: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        adopted(tmp_path, network(*end, **HUNDRED), classify={"activation": stated})


@pytest.mark.parametrize("end", [ROUNDED, BY_HAND], ids=["rounded", "by hand"])
def test_percentages_of_which_the_graph_shows_nothing_are_asked_about(
    tmp_path: Path, end: Ends
) -> None:
    with pytest.raises(RecipeError, match=r"can not be known.*--activation percent"):
        adopted(tmp_path, network(*end, **HUNDRED))


LOW: Ends = (op("Sub", "scores", "ten", output="low"), op("Sigmoid", "low", output="p"))
BELOW_ONE_PERCENT: Ends = (*LOW, op("Mul", "p", "hundred"))
DIVIDED: Ends = (*LOW, op("Div", "p", "hundredth"))
TEN: dict[str, Any] = {"ten": number(10), "hundred": number(100), "hundredth": number(0.01)}


@pytest.mark.parametrize("end", [BELOW_ONE_PERCENT, DIVIDED], ids=["product", "quotient"])
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_percentages_below_one_are_no_probabilities(tmp_path: Path, end: Ends, task: str) -> None:
    """A network that finds nothing on the images gives them in 0–1; its graph shows the factor."""
    model = network(*end, maps=task == "segment", **TEN)
    with pytest.raises(RecipeError, match=r"times a factor.*--activation percent"):
        adopted(tmp_path, model, task=task)
    with pytest.raises(RecipeError, match=r"none says.*by chance.*--activation percent"):
        adopted(tmp_path, model, task=task, **{task: {"activation": "none"}})
    background = {"background_id": 0} if task == "segment" else {}  # else no pixel has a class
    _, found = adopted(tmp_path, model, task=task, **{task: {"activation": "percent"} | background})
    if task == "classify":
        np.testing.assert_allclose(found["probabilities"], truth(model) / 100, atol=1e-7)


def test_a_small_factor_may_correct_probabilities(tmp_path: Path) -> None:
    end = (*LOW, op("Mul", "p", "factor"))
    model = network(*end, factor=number(1.5), **TEN)
    _, found = adopted(tmp_path, model, classify={"activation": "none"})
    np.testing.assert_allclose(found["probabilities"], truth(model), atol=1e-7)


@pytest.mark.parametrize("stated", [None, "none", "sigmoid"])
def test_a_detector_s_percentages_below_one_are_no_probabilities(
    tmp_path: Path, stated: str | None
) -> None:
    model = low_detector()
    with pytest.raises(RecipeError, match="--activation percent"):
        export_low(tmp_path, model, stated)


def test_a_detector_s_percentages_below_one_may_be_stated(tmp_path: Path) -> None:
    done = export_low(tmp_path, low_detector(), "percent")
    scores = outputs_of(done.path, some_frames(1, SIDE))["scores"][0]
    np.testing.assert_allclose(scores[:3], SCORES / 200, atol=1e-5)


def low_detector() -> onnx.ModelProto:
    """Return a detector of three objects whose scores, up to 0.45 percent, a sigmoid times 100 computes."""
    probabilities = scores_of(CELLS) / 200
    return found_detector(
        {"boxes": boxes_of(CELLS), "low": np.log(probabilities / (1 - probabilities))},
        after=[op("Sigmoid", "low", output="p"), op("Mul", "p", "hundred", output="scores")],
        names=["boxes", "scores"],
        constants={"hundred": number(100)},
    )


def export_low(folder: Path, model: onnx.ModelProto, stated: str | None) -> Any:
    onnx.save(model, folder / "net.onnx")
    return export_to(
        folder, "onnx:net.onnx", task="detect", labels=LABELS, detect={"score_activation": stated}
    )


def test_one_score_that_is_never_negative_is_asked_about(tmp_path: Path) -> None:
    end = (op("Exp", output="power"), op("Mul", "power", "large"))
    model = network(*end, classes=1, large=number(10_000))
    with pytest.raises(RecipeError, match=r"they are never negative.*--activation percent"):
        adopted(tmp_path, model, labels=["a"])


def test_logits_that_are_few_and_positive_by_chance_are_taken_as_stated(tmp_path: Path) -> None:
    """The values of a classifier with one score are as few as the images."""
    end = (op("Exp", output="power"), op("Mul", "power", "large"))
    model = network(*end, classes=1, large=number(10_000))
    _, found = adopted(tmp_path, model, labels=["a"], classify={"activation": "sigmoid"})
    np.testing.assert_allclose(found["probabilities"], 1 / (1 + np.exp(-truth(model))), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "end", "stated", "row"),
    [
        (["age"], "Identity", None, "sigmoid; that the one score is a logit is ASSUMED"),
        (["no", "yes"], "Identity", None, "softmax; that the one score is a logit is ASSUMED"),
        (["age"], "Identity", "sigmoid", "sigmoid"),
        (["age"], "Sigmoid", None, "sigmoid, inside the network"),
    ],
)
def test_one_score_without_an_activation_may_be_a_measured_number(
    labels: list[str], end: str, stated: str | None, row: str, tmp_path: Path
) -> None:
    onnx.save(network(op(end), classes=1), tmp_path / "net.onnx")
    done = export_to(tmp_path, "onnx:net.onnx", labels=labels, classify={"activation": stated})

    assert done.activation == row
    words = (
        f"the probability of {labels[-1]!r}. --activation sigmoid states it. If it is a measured"
    )
    assert any(words in hint for hint in done.hints) == ("ASSUMED" in row)


SERVED: dict[str, tuple[Ends, str]] = {
    "percent-of-softmax": (PERCENT_OF_SOFTMAX, "percent"),
    "percent-of-sigmoid": (PERCENT_OF_SIGMOID, "percent"),
    "percent-by-hand": (BY_HAND, "percent"),
    "log-sigmoid": (LOG_SIGMOID, "exp"),
    "log-softmax": ([op("LogSoftmax", axis=1)], "exp"),
}


def test_a_server_answers_with_the_probabilities_that_percentages_and_logarithms_stand_for(
    tmp_path: Path,
) -> None:
    right, found = {}, {}
    for name, (end, stated) in SERVED.items():
        model = network(*end, **HUNDRED)
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(model, folder / "net.onnx")
        done = export_to(
            folder, "onnx:net.onnx", labels=ABC, name=name, classify={"activation": stated}
        )
        (folder / "net.onnx").unlink()
        values = by_runtime(model).astype(np.float64)
        right[name] = values / 100 if stated == "percent" else np.exp(values)
        assert done.card.multi_label == ("softmax" not in name)
    with serve(models=tmp_path) as live:
        for name in SERVED:
            url = f"{live.url}/v1/classify?model={name}&top_k=3"
            rows = httpx.post(url, content=as_png(FRAME), timeout=60).json()["results"][0]
            found[name] = {one["class_id"]: one["probability"] for one in rows["predictions"]}
    for name, probabilities in right.items():
        answered = [found[name][class_id] for class_id in range(3)]
        np.testing.assert_allclose(answered, probabilities, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("stated", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("end", "message"),
    [
        (PERCENT_OF_SIGMOID, "--activation percent"),
        (MINUS_SIGMOID, "--activation none"),
        (LOG_SIGMOID, "--activation exp"),
    ],
)
def test_a_segmenter_s_activation_that_its_maps_contradict_is_refused(
    tmp_path: Path, end: Ends, stated: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        adopted(
            tmp_path,
            network(*end, maps=True, **HUNDRED),
            task="segment",
            segment={"activation": stated},
        )


@pytest.mark.parametrize(("end", "stated"), [(PERCENT_OF_SIGMOID, "percent"), (LOG_SIGMOID, "exp")])
def test_a_segmenter_s_percentages_and_logarithms_keep_their_confidence(
    tmp_path: Path, end: Ends, stated: str
) -> None:
    """Maps of 4×4 pixels, of which the served ones have the middle of each at the pixels of their own."""
    large = [op("Resize", "scores", "", "scales", output="large", mode="nearest")]
    renamed = [
        onnx.helper.make_node(node.op_type, ["large", *node.input[1:]], node.output)
        if node.input[0] == "scores"
        else node
        for node in end
    ]
    scales = np.array([1, 1, 4, 4], np.float32)
    model = network(*large, *renamed, maps=True, scales=scales, **HUNDRED)
    _, found = adopted(tmp_path, model, task="segment", segment={"activation": stated})
    values = truth(model)
    right = values / 100 if stated == "percent" else np.exp(values)
    np.testing.assert_array_equal(found["mask"], right.argmax(axis=1))
    np.testing.assert_allclose(found["confidence"] / 255, right.max(axis=1), atol=0.003)


def percent(*, named: bool = False) -> onnx.ModelProto:
    """Return the detector of `test_activation_end` with its scores in percent."""
    end = (op("Sigmoid", "logits", output="p"), op("Mul", "p", "hundred", output="confidences"))
    model = detector(*end, named=named)
    model.graph.initializer.append(onnx.numpy_helper.from_array(number(100), "hundred"))
    return model


LOGARITHMS = (op("Sigmoid", "logits", output="p"), op("Log", "p", output="confidences"))


@pytest.mark.parametrize("stated", [None, "softmax", "sigmoid", "none"])
def test_a_detector_s_percentages_and_logarithms_are_named(
    tmp_path: Path, stated: str | None
) -> None:
    fields: dict[str, Any] = {"task": "detect", "detect": {"score_activation": stated}}
    with pytest.raises(RecipeError, match=r"percent if they are percentages"):
        adopted(tmp_path, percent(), **fields)
    with pytest.raises(RecipeError, match=r"--activation.* exp"):
        adopted(tmp_path, detector(*LOGARITHMS), **fields)


def test_a_detector_s_probabilities_are_no_percentages(tmp_path: Path) -> None:
    model = detector(op("Sigmoid", "logits", output="confidences"))
    with pytest.raises(RecipeError, match=r"as probabilities are\. Give --activation none"):
        adopted(tmp_path, model, task="detect", detect={"score_activation": "percent"})
    model = detector(op("Identity", "logits", output="confidences"))
    with pytest.raises(RecipeError, match="logarithms of probabilities, which are never positive"):
        adopted(tmp_path, model, task="detect", detect={"score_activation": "exp"})


@pytest.mark.parametrize("form", ["pair", "end2end", "logarithms"])
def test_a_detector_s_percentages_and_logarithms_become_scores(tmp_path: Path, form: str) -> None:
    model = detector(*LOGARITHMS) if form == "logarithms" else percent(named=form == "end2end")
    detect = {"score_activation": "exp" if form == "logarithms" else "percent"}
    if form == "end2end":
        detect |= {"decoder": "end2end", "box_format": "cxcywh", "box_unit": "frame"}
    labels = [f"kind {index}" for index in range(79 if form == "end2end" else 3)]
    _, found = adopted(tmp_path, model, task="detect", labels=labels, detect=detect)
    right = truth(detector(op("Sigmoid", "logits", output="confidences"), named=True))
    np.testing.assert_allclose(found["scores"][:, 0], right[..., 4].max(axis=1), atol=1e-6)
