"""Names of classes are found by label, by index, and for ImageNet by WordNet id."""

import pytest
from timm.data.imagenet_info import ImageNetInfo

from service.errors import LabelsError
from service.labeled.imagenet import WORDNET_IDS
from service.labeled.names import ClassNames

PETS = ("Tabby Cat", "dog", "bird")


@pytest.mark.parametrize(
    ("labels", "name", "class_id"),
    [
        (PETS, "Tabby Cat", 0),
        (PETS, "tabby_cat", 0),
        (PETS, " TABBY--cat ", 0),
        (PETS, "tabbycat", None),
        (PETS, "2", 2),
        (PETS, "3", None),
        (("Dog", "dog"), "dog", 1),  # the very name comes before one without regard to case
        (("Dog", "dog"), "DOG", None),
        (("5", "3", "0"), "0", 2),  # a label that is a number is no index
        (("5", "3", "0"), "1", None),
        (("crane", "dog", "crane"), "crane", None),  # of two classes
        (("crane", "dog", "crane"), "2", 2),
        (("", "person"), "0", None),  # an id that means nothing
        (("", "person"), "", None),
        (("a", "b"), "-1", None),
        (("a", "b"), "²", None),
        (("0", "1"), "-1", None),  # as data sets write where nobody knows the class
        (("0", "1"), " - 1", None),
        (("-1", "1"), "-1", 0),
        (("t-1", "b"), "T 1", 0),
        (tuple(map("class {}".format, range(1000))), "n01440764", 0),
        (tuple(map("class {}".format, range(1000))), "n02123045", 281),  # ImageNet's tabby
        (("a", "b"), "n01440764", None),
    ],
)
def test_a_name_is_found(labels: tuple[str, ...], name: str, class_id: int | None) -> None:
    assert ClassNames(labels).find(name) == class_id


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (["dog"], {1}),
        (["dog|bird"], {1, 2}),
        (["dog; 0"], {0, 1}),
        (["dog, Tabby_Cat", "bird"], {0, 1, 2}),
        (["none"], set()),
        (["None"], set()),
        ([""], set()),
        ([], set()),
        (["dog|wolf"], None),
        (["dog|"], None),
    ],
)
def test_a_cell_may_name_several(cells: list[str], ids: set[int] | None) -> None:
    found = ClassNames(PETS, several=True).ids(cells)

    assert found == (None if ids is None else frozenset(ids))


def test_where_an_image_has_one_label_a_cell_is_one_name() -> None:
    names = ClassNames((*PETS, "a, b"))

    assert names.ids(["a, b"]) == frozenset({3})
    assert names.ids(["dog|bird"]) is None
    assert names.ids(["none"]) is None
    assert names.ids([""]) is None
    assert ClassNames((*PETS, "none"), several=True).ids(["none"]) == frozenset({3})


@pytest.mark.parametrize(
    ("labels", "cells", "message"),
    [
        (PETS, ["brid", "dog"], r"set: 'brid' \(near: 'bird'\): the network has no such class\. Its 3 labels are "),
        (PETS, ["brid"], r" are Tabby Cat, dog, bird\. Use these names, or their indices$"),
        (PETS, ["zzz"], "'zzz': the network has no"),
        (("crane", "heron", "Crane"), ["CRANE"], r"'CRANE' \(the name of 2 classes: use the index\)"),
        (("5", "3"), ["7"], r"labels are 5, 3\. Use these names$"),
        (("", *"abcde"), ["zzz"], r"Its 5 labels are a, b, c, d, e\. "),
        (tuple("abcdef"), ["zzz"], "Its 6 labels are a, b, c, d, e, …"),
        (PETS, ["z5", "z1", "z3", "z2", "z4"], "'z1', 'z2', 'z3', 'z4', 'z5': the"),
        (PETS, ["z5", "z1", "z3", "z2", "z4", "z6", "z6"], "'z5' and 1 more: the"),
    ],
)  # fmt: skip
def test_unknown_names_are_refused_with_the_nearest(
    labels: tuple[str, ...], cells: list[str], message: str
) -> None:
    with pytest.raises(LabelsError, match=message):
        ClassNames(labels).require(cells, "set")


@pytest.mark.parametrize(
    ("cells", "is_said"),
    [
        (["1", "2", "3"], True),
        (["01", "03"], True),
        (["1|3", "2"], True),
        (["0", "1", "3"], False),
        (["1", "4"], False),
        (["2", "3"], False),
        (["1", "dog", "3"], False),
        (["", "1", "3"], False),
    ],
)
def test_numbers_from_one_are_named_so(cells: list[str], *, is_said: bool) -> None:
    with pytest.raises(LabelsError, match="no such class") as refused:
        ClassNames(PETS).require(cells, "set")

    words = (
        "seem to be numbered from 1, and indices begin at 0: subtract 1 from each. Use these names"
    )
    assert (words in str(refused.value)) == is_said


def test_numbers_that_are_labels_are_no_indices() -> None:
    with pytest.raises(LabelsError, match=r"labels are 1, 2, 5\. Use these names$"):
        ClassNames(("1", "2", "5")).require(["1", "3"], "set")


def test_known_names_pass_and_nothing_is_a_name_where_it_is_allowed() -> None:
    ClassNames(PETS).require(["dog", "0", "tabby-cat"], "set")
    ClassNames(PETS, several=True).require(["none", "", "dog|bird"], "set")
    with pytest.raises(LabelsError, match=r"or none where no label applies$"):
        ClassNames(PETS, several=True).require(["wolf"], "set")


def test_the_folders_of_imagenet_are_those_that_timm_lists() -> None:
    listed = ImageNetInfo().label_names()

    assert list(WORDNET_IDS) == listed
