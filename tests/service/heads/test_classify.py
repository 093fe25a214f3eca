from typing import Any

import numpy as np
import pytest

from service.heads.classify import classify
from tests.source_images import source_of

LABELS = ("ant", "bee", "cat", "dog")


def best(probabilities: list[float], top_k: int) -> list[Any]:
    outputs = {"probabilities": np.array(probabilities, np.float32)}
    found = classify(outputs, source_of(1, 1), labels=LABELS, top_k=top_k)
    return [(p["label"], p["class_id"], p["probability"]) for p in found["predictions"]]


def test_the_best_come_first_with_their_names() -> None:
    first, second = best([0.1, 0.2, 0.4, 0.3], 2)
    assert first == ("cat", 2, pytest.approx(0.4))
    assert second == ("dog", 3, pytest.approx(0.3))


def test_equal_ones_come_in_the_order_of_their_ids() -> None:
    assert [class_id for _, class_id, _ in best([0.25, 0.25, 0.25, 0.25], 4)] == [0, 1, 2, 3]


def test_as_many_classes_come_as_requested() -> None:
    assert len(best([0.7, 0.1, 0.1, 0.1], 1)) == 1
    assert len(best([0.7, 0.1, 0.1, 0.1], 4)) == 4
