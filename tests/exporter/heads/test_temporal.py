"""A temporal head is a classifier over a window, without features of its own."""

import numpy as np

from exporter.heads.temporal import TemporalHead
from tests.exporter.graphs import normal
from tests.exporter.heads.grafting import grafted


def test_a_temporal_head_is_a_classifier_without_features() -> None:
    head, raw = TemporalHead(3), [normal(2, 3)]
    found = grafted(head, raw)
    assert (head.task, head.metric, tuple(found)) == ("temporal", "top1", head.outputs)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, rtol=1e-6)
