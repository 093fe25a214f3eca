"""Pairs of results, and whether they say the same."""

from collections.abc import Mapping
from typing import Any

import pytest

from service.heads.sameness import (
    CLOSE_FRACTION,
    SMALL_FRACTION,
    same_areas,
    same_class,
    same_direction,
    same_things,
)


def classified(*labels: str) -> Any:
    return {"predictions": [{"label": one, "probability": 0.5} for one in labels]}


def found(*labels: str) -> Any:
    return {"detections": [{"label": one, "score": 0.5} for one in labels]}


def covered(shares: Mapping[str, float]) -> Any:
    return {"segments": [{"label": one, "fraction": share} for one, share in shares.items()]}


def test_of_classes_the_best_one_counts() -> None:
    assert same_class(classified("cat", "dog"), classified("cat", "bird"))
    assert not same_class(classified("cat", "dog"), classified("dog", "cat"))
    assert not same_class(classified("cat"), classified())
    assert same_class(classified(), classified())


def test_of_things_the_number_of_each_class_counts_and_not_their_order() -> None:
    assert same_things(found("cup", "cat", "cup"), found("cat", "cup", "cup"))
    assert not same_things(found("cup", "cat"), found("cup", "cup"))
    assert not same_things(found("cup"), found("cup", "cup"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"sky": 0.5, "sea": 0.5}, {"sea": 0.48, "sky": 0.52}, True),
        ({"sky": 0.5}, {"sky": 0.5 + CLOSE_FRACTION / 2}, True),
        ({"sky": 0.5}, {"sky": 0.5 + CLOSE_FRACTION * 2}, False),
        ({"sky": 0.9, "sea": SMALL_FRACTION / 2}, {"sky": 0.9}, True),
        ({"sky": 0.9, "sea": SMALL_FRACTION * 2}, {"sky": 0.9}, False),
        ({}, {}, True),
    ],
)
def test_of_areas_the_share_of_each_class_counts_and_specks_do_not(
    one: dict[str, float], other: dict[str, float], *, same: bool
) -> None:
    assert same_areas(covered(one), covered(other)) is same
    assert same_areas(covered(other), covered(one)) is same


def test_of_vectors_the_direction_counts() -> None:
    """The cosine of 8 degrees is 0.9903, that of 9 degrees 0.9877."""
    first, near, far = [1.0, 0.0], [0.99027, 0.13917], [0.98769, 0.15643]
    assert same_direction({"embedding": first}, {"embedding": near})
    assert not same_direction({"embedding": first}, {"embedding": far})
    assert not same_direction({"embedding": first}, {"embedding": [1.0, 0.0, 0.0]})
