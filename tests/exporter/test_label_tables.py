"""Labels in structured content, in the order of the class ids."""

from collections.abc import Mapping
from typing import Any

import pytest

from exporter.errors import RecipeError
from exporter.label_tables import HOLDERS, holder_of, labels_in

PETS = ("cat", "dog", "bird")


@pytest.mark.parametrize(
    "content",
    [
        ["cat", " dog ", "bird"],
        ("cat", "dog", "bird"),
        {0: "cat", 1: "dog", 2: "bird"},
        {"2": "bird", "0": " cat", "1": "dog"},
        {"cat": 0, "bird": "2", " dog": 1},
        [["cat"], ("dog",), "bird"],
        # Keras's pair of WordNet id and label.
        [["n02121808", "cat"], ("n02084071", " dog"), ["n01503061", "bird"]],
        [{"name": "cat"}, {"name": "dog"}, {"name": "bird"}],
        [{"title": "cat", "id": 0}, {"title": "dog", "id": 1}, {"title": "bird", "id": 2}],
        [{"label": "bird", "index": 2}, {"label": "cat", "index": 0}, {"label": "dog", "index": 1}],
        [{"name": "dog", "class_id": "1"}, {"name": "cat", "class_id": "0"}, {"name": "bird", "class_id": "2"}],
        # Of several keys, one that all have.
        [{"name": "x", "label": "cat"}, {"label": "dog"}, {"label": "bird"}],
        [{"id": "a", "index": 1, "name": "dog"}, {"id": "b", "index": 0, "name": "cat"}, {"index": 2, "name": "bird"}],
    ],
)  # fmt: skip
def test_lists_and_tables_of_ids_hold_labels(content: object) -> None:
    assert labels_in(content, "f") == PETS


def test_numbers_are_labels_and_ids_without_one_get_an_empty_one() -> None:
    assert labels_in([0, 1.5, "x"], "f") == ("0", "1.5", "x")
    assert labels_in({0: "a", 2: "c"}, "f") == ("a", "", "c")
    assert labels_in([], "f") == ()


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_key_that_holds_labels_is_known(holder: str) -> None:
    assert labels_in({"path": "..", holder: ["cat", "dog", "bird"]}, "f") == PETS
    assert labels_in({holder: {"names": ["cat", "dog", "bird"]}}, "f") == PETS


def test_a_key_without_content_is_passed_over() -> None:
    assert holder_of({"names": [], "labels": ["a"]}) == "labels"
    assert holder_of({"labels": ["a"], "names": ["b"]}) == "names"
    assert holder_of({"names": {"0": "a"}}) == "names"
    assert holder_of({"names": "labels.txt", "classes": ("a",)}) == "classes"
    assert holder_of({"names": 3, "other": ["a"]}) is None
    assert holder_of({}) is None


def test_the_stated_number_must_be_that_of_the_labels() -> None:
    assert labels_in({"nc": 2, "names": ["a", "b"]}, "f") == ("a", "b")
    assert labels_in({"nc": "2", "names": ["a", "b"]}, "f") == ("a", "b")
    with pytest.raises(RecipeError, match=r"f\.yaml states nc 3 and 2 names\. Correct one"):
        labels_in({"nc": 3, "names": ["a", "b"]}, "f.yaml")


@pytest.mark.parametrize(
    "content",
    [
        *("cat", b"cat", None, 7, {}, {"cat": "dog"}, {"a": 1, "b": -1}, {"a": True}, {"a": 1.0}),
        *({"0": "a", "x": "b"}, {"²": "a"}),
    ],
)
def test_content_without_labels_is_refused(content: object) -> None:
    with pytest.raises(RecipeError, match="f holds neither a list of labels nor an object"):
        labels_in(content, "f")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["a", None], "holds 'None' where a label must be"),
        (["a", True], "holds 'True' where a label must be"),
        (["a", {"name": "b"}], "where a label must be"),
        ([["tench", "Tinca tinca"]], r"\['tench', 'Tinca tinca'\]\" where"),
        ([["n01440764", "a", "b"]], "where a label must be"),
        ([["n0144076", "tench"]], "where a label must be"),
        ([[]], "where a label must be"),
        ([["x" * 100, "y"]], r"holds \"\['x{58}\" where"),
        ([{"color": "red"}], "a list of objects without a name"),
        ([{"name": "a"}, {"label": "b"}], "a list of objects without a name"),
        ([{"id": 0, "name": "a"}, {"id": 0, "name": "b"}], "f has the id 0 twice"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "ids in f are 1 to 2 for 2 labels"),
        ([{"id": 0, "name": "a"}, {"id": 2, "name": "b"}], "ids in f are 0 to 2 for 2 labels"),
        ({"a": 0, "b": "0"}, "gives the class id 0 to 'a' and to 'b'"),
        ({1: "a", 2: "b"}, "ids in f begin at 1"),
        ({"a": 1}, "ids in f begin at 1"),
        ({0: "a", 20: "b"}, "f has 2 labels and ids up to 20"),
    ],
)
def test_what_is_not_clear_is_refused(content: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        labels_in(content, "f")


def test_some_ids_may_be_without_a_label() -> None:
    """At most as many as there are labels, and 15 more."""
    table: Mapping[Any, Any] = {0: "a", 19: "b"}

    assert len(labels_in(table, "f")) == 20
    assert labels_in({2: "a", 3: "b"}, "f") == ("", "", "a", "b")
