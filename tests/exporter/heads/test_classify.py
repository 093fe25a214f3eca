"""Logits and probabilities of class scores."""

from dataclasses import replace

import numpy as np
import pytest

from exporter.heads.classify import ClassifyHead
from exporter.network import Outputs
from tests.exporter.graphs import normal
from tests.exporter.heads.grafting import FRAME, grafted


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_nodes_compute_what_is_expected(multi_label: bool) -> None:  # noqa: FBT001 - a parameter of the test
    head, raw = ClassifyHead(5, multi_label), [normal(4, 5)]

    found, expected = grafted(head, raw), head.expected(raw, FRAME)

    assert list(found) == ["logits", "probabilities"]
    assert head.difference(found, expected) < 1e-6


def answer(*rows: list[float]) -> Outputs:
    probabilities = np.array(rows)
    return {"logits": np.log(probabilities), "probabilities": probabilities}


def test_an_image_agrees_if_the_best_class_is_the_same() -> None:
    one, other = answer([0.3, 0.7], [0.6, 0.4]), answer([0.3, 0.7], [0.4, 0.6])
    assert ClassifyHead(2).agreement(one, other, 0.5) == [1, 0]


def test_an_image_disagrees_if_a_probability_differs_by_more_than_the_tolerance() -> None:
    one, other = answer([0.3, 0.7], [0.1, 0.9]), answer([0.31, 0.69], [0.3, 0.7])
    assert ClassifyHead(2).agreement(one, other, 0.05) == [1, 0]
    assert ClassifyHead(2).result_difference(one, other) == pytest.approx(0.2)


def test_with_several_labels_every_decision_counts() -> None:
    one, other = answer([0.9, 0.6], [0.9, 0.6]), answer([0.9, 0.6], [0.9, 0.4])
    assert ClassifyHead(2, multi_label=True).agreement(one, other, 1.0) == [1, 0]


def test_the_agreement_is_named_by_what_it_measures() -> None:
    heads = ClassifyHead(2), ClassifyHead(2, multi_label=True), ClassifyHead(1)
    assert [head.metric for head in heads] == ["top1", "exact_match", "exact_match"]


def test_with_one_class_the_decision_can_differ() -> None:
    assert ClassifyHead(1).agreement(answer([0.7]), answer([0.4]), 1.0) == [0]


@pytest.mark.parametrize("multi_label", [False, True])
def test_improbable_labels_are_compared_as_probabilities(multi_label: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A sigmoid in float32 is exact to about 1e-7, which is much of a probability of 1e-7."""
    head, raw = ClassifyHead(1, multi_label), [np.linspace(-18, -12, 40, dtype=np.float32)[:, None]]
    assert head.difference(grafted(head, raw), head.expected(raw, FRAME)) < 1e-5


def test_no_number_never_agrees() -> None:
    nothing, other = {k: v * np.nan for k, v in answer([0.5]).items()}, answer([0.5])
    assert ClassifyHead(1).agreement(nothing, other, 1.0) == [0]
    assert ClassifyHead(1).result_difference(nothing, other) == np.inf


@pytest.mark.parametrize(
    ("head", "raw", "logits", "probabilities"),
    [
        # ln 0.25 = -1.386294; of one score 2.0 the sigmoid is 0.880797, of -1.0 it is 0.268941; ln 3 = 1.098612
        (ClassifyHead(2, scores="softmax"), [0.25, 0.75], [-1.386294, -0.287682], [0.25, 0.75]),
        (ClassifyHead(1), [2.0], [2.0], [0.880797]),
        (ClassifyHead(2, both_sides=True), [-1.0], [0, -1.0], [0.731059, 0.268941]),
        (ClassifyHead(1, scores="sigmoid"), [0.75], [1.098612], [0.75]),
        (
            ClassifyHead(2, scores="sigmoid", both_sides=True),
            [0.75],
            [-1.386294, -0.287682],
            [0.25, 0.75],
        ),
    ],
)
@pytest.mark.parametrize("axes", [(), (1, 1)])
def test_probabilities_and_logits_of_scores(
    head: ClassifyHead,
    raw: list[float],
    logits: list[float],
    probabilities: list[float],
    axes: tuple[int, ...],
) -> None:
    head = replace(head, axes=2 + len(axes))
    scores = [np.array([raw, raw]).reshape(2, -1, *axes)]
    for outputs in (grafted(head, scores), head.expected(scores, FRAME)):
        np.testing.assert_allclose(outputs["logits"], [logits] * 2, atol=1e-5)
        np.testing.assert_allclose(outputs["probabilities"], [probabilities] * 2, atol=1e-5)


def test_one_score_may_have_no_axis_of_classes() -> None:
    found = grafted(ClassifyHead(1, axes=1), [np.array([0.0, 2.0])])
    np.testing.assert_allclose(found["probabilities"], [[0.5], [0.880797]], atol=1e-5)
