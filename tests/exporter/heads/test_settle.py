"""The activation of a head follows from what the raw scores are; a contradiction is refused with the option."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.heads.settle import settle_head
from tests.exporter.graphs import normal, pixel_graph
from tests.exporter.heads.judged import FRAME, array, detect_head


def graph(end: str | None) -> Graph:
    """Return a graph whose output `raw` comes from a linear layer through an operator, None for the layer itself."""
    nodes = [helper.make_node("Conv", ["pixels", "w"], ["linear"])]
    nodes.append(helper.make_node(end or "Identity", ["linear"], ["raw"]))
    return Graph(pixel_graph(*nodes, w=normal(4, 3, 16, 16)))


def classified(head: ClassifyHead, end: str | None, *rows: list[float]) -> ClassifyHead:
    """Return the settled head for one image's scores a row."""
    settled = settle_head(head, graph(end), ["raw"], [(array(row),) for row in rows], FRAME)
    assert isinstance(settled, ClassifyHead)
    return settled


LOGITS = [[12.0, -3.0], [0.5, 4.0]]
SHARES = [[0.25, 0.75], [0.5, 0.5]]
EACH_ALONE = [[0.25, 0.7], [0.9, 0.8]]
LOG_SHARES = [[float(np.log(0.25)), float(np.log(0.75))]]


def test_logits_and_their_logarithms_are_left_to_the_head() -> None:
    assumed = ClassifyHead(2, assumes_softmax=True)
    assert classified(ClassifyHead(2), None, *LOGITS) == assumed
    # A log-softmax says that an image has one class.
    assert classified(ClassifyHead(2), "LogSoftmax", *LOG_SHARES) == ClassifyHead(2)
    stated = ClassifyHead(2, stated="softmax")
    assert classified(stated, None, *LOGITS) == stated
    assert classified(stated, "LogSoftmax", *LOG_SHARES) == stated
    several = ClassifyHead(2, multi_label=True)
    assert classified(several, None, *LOGITS) == several


def test_probabilities_that_the_network_computes_stay() -> None:
    assert classified(ClassifyHead(2), "Softmax", *SHARES) == ClassifyHead(2, scores="softmax")
    assert classified(ClassifyHead(2), "Sigmoid", *EACH_ALONE) == ClassifyHead(
        2, multi_label=True, scores="sigmoid"
    )
    several = ClassifyHead(2, multi_label=True)
    assert classified(several, "Sigmoid", *EACH_ALONE).scores == "sigmoid"


def test_one_probability_of_two_sides_is_no_label_of_its_own() -> None:
    both = ClassifyHead(2, both_sides=True)

    settled = classified(both, "Sigmoid", [0.25], [0.9])

    assert settled == ClassifyHead(2, both_sides=True, scores="sigmoid")


def cut_softmax(*between: str, axis: int = 1) -> Graph:
    """Return a graph that ends in a softmax over four classes, operators, and a cut that leaves all but the first."""
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["linear"]),
        helper.make_node("Softmax", ["linear"], ["shares"], axis=axis),
    ]
    last = "shares"
    for index, operator in enumerate(between):
        nodes.append(helper.make_node(operator, [last], [f"step_{index}"]))
        last = f"step_{index}"
    nodes.append(helper.make_node("Slice", [last, "begin", "end", "begin"], ["raw"]))
    begin, end = (np.array([number], np.int64) for number in (1, 4))
    return Graph(pixel_graph(*nodes, w=normal(4, 3, 16, 16), begin=begin, end=end))


REST = [[0.2, 0.1, 0.4], [0.0, 0.01, 0.02]]
"""Probabilities of three of four classes."""


def settled_cut(head: ClassifyHead, *rows: list[float], made: Graph | None = None) -> ClassifyHead:
    found = settle_head(
        head, made or cut_softmax(), ["raw"], [(array(row),) for row in rows], FRAME
    )
    assert isinstance(found, ClassifyHead)
    return found


def test_a_softmax_whose_background_is_cut_off_gives_one_label_for_an_image() -> None:
    for head in (ClassifyHead(3), ClassifyHead(3, stated="none")):
        settled = settled_cut(head, *REST)
        assert (settled.scores, settled.multi_label) == ("softmax", False)
    assert settled_cut(ClassifyHead(3, multi_label=True), *REST).multi_label
    for head in (ClassifyHead(3, stated="softmax"), ClassifyHead(3, stated="sigmoid")):
        with pytest.raises(RecipeError, match=f"classes are cut off.*--activation {head.stated}"):
            settled_cut(head, *REST)


@pytest.mark.parametrize(
    ("made", "rows"),
    [
        (cut_softmax(), [[0.9, 0.8, 0.1]]),
        (cut_softmax("Transpose"), REST),
        (cut_softmax(axis=0), REST),
    ],
    ids=["sums beyond one", "axes are moved", "over the batch"],
)
def test_what_may_be_no_part_of_a_softmax_over_the_classes_stays_several_labels(
    made: Graph, rows: list[list[float]]
) -> None:
    assert settled_cut(ClassifyHead(3), *rows, made=made).multi_label


def test_stated_probabilities_are_taken_by_their_sums() -> None:
    stated = ClassifyHead(2, stated="none")

    assert classified(stated, "Selu", *SHARES).scores == "softmax"
    assert classified(stated, "Selu", *SHARES).multi_label is False
    assert classified(stated, "Selu", *EACH_ALONE).scores == "sigmoid"
    assert classified(stated, "Selu", *EACH_ALONE).multi_label is True
    # A linear layer's values in 0–1 are probabilities where that is stated.
    assert classified(stated, None, *EACH_ALONE).scores == "sigmoid"


@pytest.mark.parametrize(
    ("head", "end", "rows", "message"),
    [
        (ClassifyHead(2, stated="none"), None, LOGITS, "-3 to 12 on real images.*softmax or sigmoid if they are"),
        (ClassifyHead(2, stated="softmax"), "Softmax", SHARES, "ends in a softmax.*softmax would be"),
        (ClassifyHead(2, stated="softmax"), "Sigmoid", EACH_ALONE, r"ends in a sigmoid.*softmax would"),
        (ClassifyHead(2, stated="sigmoid"), "Softmax", SHARES, r"softmax\)\. --activation sigmoid, or"),
        (ClassifyHead(2, stated="sigmoid"), "LogSoftmax", LOG_SHARES, "ends in a log-softmax"),
        (ClassifyHead(2, multi_label=True), "Softmax", SHARES, "or --multi-label, would be applied"),
        (ClassifyHead(2, multi_label=True), "LogSoftmax", LOG_SHARES, "or --multi-label, would be"),
        (ClassifyHead(2, multi_label=True, stated="none"), "Selu", SHARES, "--multi-label, would be"),
        (ClassifyHead(2, multi_label=True, stated="softmax"), None, LOGITS, "give one of the two"),
        (ClassifyHead(1), "Softmax", [[1.0], [1.0]], "softmax over one class is 1.0 for every"),
        (ClassifyHead(3), "Softmax", [[1.0] * 3] * 2, "Every score is 1.0.*over the classes"),
        (ClassifyHead(1, stated="softmax"), None, [[3.0], [1.0]], "softmax over one class"),
    ],
)  # fmt: skip
def test_contradictions_of_a_classifier_are_refused(
    head: ClassifyHead, end: str | None, rows: list[list[float]], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        classified(head, end, *rows)


def test_one_score_that_is_not_always_one_needs_no_softmax() -> None:
    assert classified(ClassifyHead(1), None, [1.0], [1.1]) == ClassifyHead(1)


def test_what_scores_are_is_asked_unless_it_is_stated() -> None:
    with pytest.raises(RecipeError, match="ends in a tanh"):
        classified(ClassifyHead(2), "Tanh", [-0.5, 0.9])
    stated = ClassifyHead(2, stated="softmax")
    assert classified(stated, "Tanh", [-0.5, 0.9]) == stated


def segmented(head: SegmentHead, end: str | None, maps: Any) -> SegmentHead:
    settled = settle_head(head, graph(end), ["raw"], [(array(maps),)], FRAME)
    assert isinstance(settled, SegmentHead)
    return settled


ONE = SegmentHead(1, (1, 2), "sigmoid")
TWO = SegmentHead(2, (1, 2))


def test_maps_of_logits_are_left_to_the_head_and_probabilities_stay() -> None:
    assumed = replace(TWO, assumes_softmax=True)
    assert segmented(TWO, None, [[[3.0, -1.0]], [[0.5, 9.0]]]) == assumed
    # A linear layer's values that happen to be positive are logits.
    assert segmented(TWO, None, [[[3.0, 1.0]], [[0.5, 9.0]]]) == assumed
    assert segmented(TWO, "Softmax", [[[0.2, 0.9]], [[0.8, 0.1]]]).activation == "none"
    assert segmented(ONE, "Sigmoid", [[[0.2, 0.9]]]).activation == "none"


def test_maps_with_a_label_more_must_be_probabilities_of_their_own() -> None:
    rest = replace(TWO, has_rest=True)
    assert segmented(rest, "Sigmoid", [[[0.2, 0.9]], [[0.7, 0.6]]]).activation == "none"
    with pytest.raises(RecipeError, match="3 are given, the network has 2 classes"):
        segmented(rest, None, [[[3.0, -1.0]], [[0.5, 9.0]]])


def test_what_is_stated_of_maps_is_taken() -> None:
    stated = SegmentHead(1, (1, 2), "sigmoid", stated="sigmoid")

    assert segmented(stated, "Tanh", [[[-0.2, 0.9]]]) == stated
    assert segmented(stated, "Selu", [[[20.0, 200.5]]]) == stated  # two pixels may be so by chance
    in_percent = SegmentHead(1, (1, 2), "percent", stated="percent")
    assert segmented(in_percent, "Selu", [[[20.0, 97.5]]]) == in_percent


@pytest.mark.parametrize(
    ("head", "end", "maps", "message"),
    [
        (ONE, "Softmax", [[[1.0, 1.0]]], "softmax over one map is 1.0 for every pixel"),
        (SegmentHead(1, (1, 2), "softmax", "softmax"), None, [[[3.0, 1.0]]], "softmax over one map"),
        (SegmentHead(2, (1, 2), "softmax", "softmax"), "Softmax", [[[0.2, 0.9]], [[0.8, 0.1]]], "on top"),
        (ONE, "Tanh", [[[-0.2, 0.9]]], "ends in a tanh"),
        (ONE, "Selu", [[[0.2, 0.9]]], "can not be known"),
        (ONE, "Selu", [[[20.0, 200.5]]], r"20 to 200 on real images and never negative.*times 200 are"),
        (ONE, "Selu", [[[0.0, 255.0]]], "as the class of each pixel is: all are whole numbers"),
        (TWO, "Selu", [[[0.0, 255.0]], [[3.0, 9.0]]], "times 255 are"),
        (SegmentHead(3, (1, 2)), "Selu", [[[0.0, 255.0]], [[3.0, 9.0]], [[0.0, 1.0]]], "colors of a palette"),
    ],
)  # fmt: skip
def test_maps_that_contradict_or_are_not_known_are_refused(
    head: SegmentHead, end: str | None, maps: Any, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        segmented(head, end, maps)


def test_maps_without_that_of_the_background_are_asked_about() -> None:
    maps = np.moveaxis(array([REST, REST]), -1, 1)
    three = SegmentHead(3, (1, 2))
    with pytest.raises(RecipeError, match=r"cut off in the graph.*every pixel would be an object"):
        settle_head(three, cut_softmax(), ["raw"], [(maps,)], FRAME)
    stated = SegmentHead(3, (1, 2), "none", "none")
    assert settle_head(stated, cut_softmax(), ["raw"], [(maps,)], FRAME) == stated
    with pytest.raises(
        RecipeError, match="cut off in the graph"
    ):  # the background has the rest of the sum
        settle_head(replace(stated, has_rest=True), cut_softmax(), ["raw"], [(maps,)], FRAME)


def detected(head: DetectHead, end: str | None, *raw: Any) -> DetectHead:
    names = ["boxes", "raw"][-len(raw) :]
    settled = settle_head(head, graph(end), names, [tuple(array(one) for one in raw)], FRAME)
    assert isinstance(settled, DetectHead)
    return settled


BOXES = [[0.1, 0.2, 0.4, 0.6], [0.5, 0.5, 0.9, 0.75]]
SCORES = [[0.9, 0.1], [0.2, 0.7]]
LARGE = [[9.0, -3.0], [1.0, 4.0]]


def pair(**detect: Any) -> DetectHead:
    return detect_head("pair", (1, 2, 4), (1, 2, 2), **detect)


def test_probabilities_of_a_detector_stay() -> None:
    head = pair(background="none")

    assert detected(head, "Sigmoid", BOXES, SCORES).activation == "none"
    assert detected(pair(score_activation="none"), None, BOXES, SCORES).activation == "none"


def test_a_stated_activation_of_a_detector_is_taken_for_logits() -> None:
    for stated in ("sigmoid", "softmax"):
        head = pair(score_activation=stated, background="last")
        assert detected(head, None, BOXES, LARGE).activation == stated
    # Logits of a linear layer may all lie in 0–1.
    assert detected(pair(score_activation="sigmoid"), None, BOXES, SCORES).activation == "sigmoid"


@pytest.mark.parametrize(
    ("detect", "end", "scores", "message"),
    [
        ({"score_activation": "sigmoid"}, "Sigmoid", SCORES, r"already \(0\.1 to 0\.9 .*none"),
        ({"score_activation": "softmax"}, "Softmax", SCORES, "are probabilities already"),
        ({"score_activation": "none"}, None, LARGE, r"they are -3 to 9 on real"),
        ({}, None, LARGE, r"scores are -3 to 9 on real images, not probabilities\. State what"),
        ({}, "Sigmoid", [[90.0, 10.0], [20.0, 70.0]], "None is negative.*--activation percent"),
        ({}, None, SCORES, "and a linear layer computes them, so that they may be logits. State"),
    ],
)
def test_contradictions_of_a_detector_are_refused(
    detect: dict[str, Any], end: str | None, scores: Any, message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as refused:
        detected(pair(**detect), end, BOXES, scores)
    assert "key points" not in str(refused.value)


@pytest.mark.parametrize(("largest", "is_hinted"), [(100.0, False), (101.0, True)])
def test_values_that_are_hardly_logits_may_be_key_points(
    largest: float, *, is_hinted: bool
) -> None:
    with pytest.raises(RecipeError) as refused:
        detected(pair(), None, BOXES, [[largest, 0.5], [0.2, 0.7]])

    assert ("key points, angles or mask" in str(refused.value)) == is_hinted


def test_negative_scores_of_yolov8_may_be_those_of_a_turned_output() -> None:
    columns = [[10.0, 20.0], [10.0, 20.0], [5.0, 5.0], [5.0, 5.0], [-0.5, 0.9]]
    head = detect_head("yolov8", (1, 5, 2))

    with pytest.raises(RecipeError, match=r"transposed: --decoder yolov8_rows\?"):
        detected(head, "Sigmoid", columns)
    columns[4] = [1.5, 0.9]
    with pytest.raises(RecipeError) as refused:
        detected(head, "Sigmoid", columns)
    assert "transposed" not in str(refused.value)


def test_the_objectness_must_be_a_probability_too() -> None:
    head = detect_head("yolov5", (1, 1, 6))
    box = [10.0, 20.0, 5.0, 5.0]

    assert detected(head, "Sigmoid", [[*box, 0.5, 0.9]]).activation == "none"
    with pytest.raises(RecipeError, match=r"0\.9 to 7 on real images"):
        detected(head, "Sigmoid", [[*box, 7.0, 0.9]])


def test_a_network_that_chooses_classes_itself_must_give_probabilities() -> None:
    rows = [[10.0, 20.0, 30.0, 40.0, 0.9, 1.0]]
    head = detect_head("end2end", (1, 1, 6))

    assert detected(head, "Sigmoid", rows).activation == "none"
    with pytest.raises(RecipeError, match="--activation sigmoid is not for --decoder end2end"):
        detected(detect_head("end2end", (1, 1, 6), score_activation="sigmoid"), "Sigmoid", rows)
    rows[0][4] = 5.0
    with pytest.raises(
        RecipeError, match=r"not probabilities\. None is negative.*--activation percent"
    ):
        detected(head, "Sigmoid", rows)


SHARES_OF_BOXES = [[0.9, 0.1], [0.25, 0.75]]


def test_scores_that_sum_to_one_need_the_background_s_column() -> None:
    with pytest.raises(RecipeError, match="--background first, last"):
        detected(pair(), "Softmax", BOXES, SHARES_OF_BOXES)
    with pytest.raises(RecipeError, match="--background first, last"):
        detected(pair(score_activation="softmax"), None, BOXES, LARGE)
    for background in ("first", "last", "none"):
        detected(pair(background=background), "Softmax", BOXES, SHARES_OF_BOXES)


def test_one_column_or_an_objectness_needs_no_background() -> None:
    detected(detect_head("pair", (1, 2, 4), (1, 2, 1)), "Sigmoid", BOXES, [[1.0], [1.0]])
    rows = [[10.0, 20.0, 5.0, 5.0, 0.9, 0.25, 0.75]]
    detected(detect_head("yolov5", (1, 1, 7)), "Sigmoid", rows)


def test_boxes_are_checked_with_the_settled_activation() -> None:
    """The logit 0 is a probability of 0.5 and a sure box; its corners are in the wrong order."""
    turned = [[0.4, 0.6, 0.1, 0.2], [0.9, 0.75, 0.5, 0.5]]
    low, sure = [[-5.0, -5.0], [-5.0, -5.0]], [[0.0, -5.0], [-5.0, 0.0]]

    detected(pair(score_activation="sigmoid"), None, turned, low)
    with pytest.raises(RecipeError, match="--box-format cxcywh"):
        detected(pair(score_activation="sigmoid"), None, turned, sure)


def test_an_embedder_has_no_activation() -> None:
    settled = settle_head(EmbedHead(), graph(None), ["raw"], [(array([3.0, 4.0]),)], FRAME)
    assert settled == EmbedHead()
