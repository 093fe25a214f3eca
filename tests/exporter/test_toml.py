"""What is written as TOML is read by Python's own reader as the same."""

import datetime
import math
import tomllib
from typing import Any

import pytest

from exporter.toml import toml_text

CONTENT: dict[str, Any] = {
    "name": "cats",
    "title": 'Cats \N{CAT FACE} and "dogs" \\ C:\\new\ttab',
    "description": "two\nlines, a DEL \x7f, a bell \x07, \u2028 and '''quotes''' # no comment",
    "key with spaces \N{DOG FACE}": 1,
    "a.b": 2,
    "": 3,
    "numbers": [1, -2, 2**70, 0.5, 1e22, 1e-7, float("inf"), float("-inf")],
    "flags": [True, False],
    "empty": [],
    "day": datetime.date(2024, 2, 29),
    "moment": datetime.datetime(2024, 2, 29, 12, 0, 1, tzinfo=datetime.UTC),
    "arguments": {"depths": [1, [2, 3]], "block": {"kind": 'b="2"', "COCO mAP@0.5": {}}},
    "scores": {"ImageNet-1K acc@1": 75.3},
}


def test_every_value_comes_back() -> None:
    assert tomllib.loads(toml_text(CONTENT)) == CONTENT


def test_what_is_no_number_comes_back() -> None:
    assert math.isnan(tomllib.loads(toml_text({"x": float("nan")}))["x"])


@pytest.mark.parametrize("value", [None, object(), [None], {"a": None}])
def test_what_toml_has_no_form_for_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no form in TOML"):
        toml_text({"x": value})


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="no text in UTF-8"):
        toml_text({"weights": "net\udce9.pt"})
