"""The question about scores that can not be known names their range and the options."""

import numpy as np
import pytest

from exporter.heads.unknown_scores import UNKNOWN, unknown_scores

SCORES = [np.array([[0.25, 0.5]]), np.array([[-0.75, 0.125]])]


def test_what_the_graph_shows_needs_no_question() -> None:
    assert {
        "bounded",
        "log",
        "constant_sum",
        "tanh",
        "cosine",
        "signed",
        "distance",
        "negated",
        "amount",
        "scaled",
        "positive",
        "mixed",
        "joined",
        "one_hot",
    } == UNKNOWN


@pytest.mark.parametrize(
    ("kind", "shows", "step"),
    [
        ("bounded", "does not end in a known activation", "--activation none (they are probab"),
        ("log", "logarithms of probabilities that do not sum to one", "--activation exp"),
        ("constant_sum", "the same sum for every image", "--activation percent"),
        ("positive", "they are never negative", "or softmax if training took them as"),
        ("tanh", "ends in a tanh", "(x + 1) / 2"),
        ("cosine", "products of vectors of the length one", "(scores * s)"),
        ("signed", "they lie in -1 to 1", "state --activation softmax or sigmoid"),
        ("distance", "a root, a length, or a sum of squares", "the negative distance"),
        ("scaled", "a softmax or sigmoid times a factor", "--activation percent"),
        ("amount", "an exponential or a softplus", "the division by the sum"),
        ("mixed", "a softmax or sigmoid, but are not all", "a bilinear resize"),
        ("joined", "parts that end in different ways", "the scores of the classes alone"),
        ("one_hot", "1 for one class and 0 for all others", "without its ArgMax"),
    ],
)
def test_each_kind_has_its_reason_and_its_next_step(kind: str, shows: str, step: str) -> None:
    message = str(unknown_scores(kind, SCORES))  # type: ignore[arg-type]

    assert "can not be known: -0.75 to 0.5 on real images, and " in message
    assert shows in message
    assert step in message
    # Of scores of two kinds no option makes probabilities.
    assert "--activation" in message or kind == "mixed"
