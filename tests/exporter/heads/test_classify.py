"""Logits and probabilities of class scores."""

import numpy as np
import pytest

from exporter.heads.classify import ClassifyHead
from exporter.heads.temporal import TemporalHead
from tests.exporter.graphs import normal
from tests.exporter.heads.grafting import FRAME, grafted


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_nodes_compute_what_is_expected(multi_label: bool) -> None:  # noqa: FBT001 - a parameter of the test
    head, raw = ClassifyHead(5, multi_label), [normal(4, 5)]

    found, expected = grafted(head, raw), head.expected(raw, FRAME)

    assert list(found) == ["logits", "probabilities"]
    assert head.difference(found, expected) < 1e-6


def test_the_agreement_is_one_where_the_best_class_is_the_same() -> None:
    head = ClassifyHead(2)
    one = {"logits": np.array([[1.0, 2.0], [2.0, 1.0]])}
    other = {"logits": np.array([[0.0, 9.0], [0.0, 9.0]])}
    assert head.agreement(one, other) == [1, 0]


def test_a_temporal_head_is_a_classifier_without_features() -> None:
    head, raw = TemporalHead(3), [normal(2, 3)]
    found = grafted(head, raw)
    assert (head.task, head.metric, tuple(found)) == ("temporal", "top1", head.outputs)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, rtol=1e-6)
