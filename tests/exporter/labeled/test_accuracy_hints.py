"""Hints about accuracy that was measured on labeled images."""

from typing import Any

import pytest

from exporter.labeled.accuracy_hints import accuracy_hints
from exporter.labeled.measure import Measurement
from service.card import Accuracy


def measurement(
    scores: dict[str, float], reference: float | None = None, **fields: Any
) -> Measurement:
    first = next(iter(scores))
    source = {first: scores[first] if reference is None else reference}
    return Measurement(Accuracy(images=100, scores=scores, reference=source), "set", **fields)


def test_accuracy_at_chance_is_a_hint_and_good_accuracy_is_none() -> None:
    truth = tuple([0, 1, 2, 3] * 25)
    (hint,) = accuracy_hints(measurement({"top1": 0.27}, answers=(2, 1, 0, 3) * 25, truth=truth))
    assert "top1 is 27.0% on 100 labeled images" in hint
    assert "by chance would give 25.0%" in hint
    assert accuracy_hints(measurement({"top1": 0.9}, answers=truth, truth=truth)) == []


def test_one_class_in_the_truth_is_no_reason_for_a_hint() -> None:
    ones = (1,) * 100
    assert accuracy_hints(measurement({"top1": 1.0}, answers=ones, truth=ones)) == []


@pytest.mark.parametrize(("name", "low"), [("map", 0.001), ("miou", 0.02)])
def test_almost_no_right_answer_is_a_hint(name: str, low: float) -> None:
    (hint,) = accuracy_hints(measurement({name: low}))
    assert "almost nothing is right" in hint
    assert accuracy_hints(measurement({name: 0.4})) == []


def test_a_loss_by_the_conversion_is_a_hint() -> None:
    (hint,) = accuracy_hints(measurement({"map": 0.30}, reference=0.35))
    assert "the source's own is 35.0%" in hint
    assert "--precision fp32" in hint
    assert accuracy_hints(measurement({"map": 0.30}, reference=0.31)) == []
