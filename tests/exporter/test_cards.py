"""Cards, made and edited."""

from pathlib import Path

import pytest

from exporter.cards import edit_card, make_card
from exporter.errors import RecipeError
from exporter.network import Facts
from exporter.recipe import make_recipe
from service.card import Card, Digest
from service.servable_file import check_certificate, read_card
from tests.servables import color_card, write_servable

RECIPE = {"source": "onnx:net.onnx", "task": "classify", "name": "net"}


def made(facts: Facts, **fields: str) -> Card:
    card = color_card()
    return make_card(
        make_recipe({**RECIPE, **fields}),
        facts,
        labels=card.labels,
        input=card.input,
        cost=card.cost,
        certificate=card.certificate,
    )


def test_the_words_of_a_recipe_take_precedence_over_the_source_s() -> None:
    facts = Facts("A network", "somewhere", license="MIT", description="It classifies.")
    card = made(facts, title="My network", origin="here")
    assert (card.title, card.source, card.license) == ("My network", "here", "MIT")
    assert card.description == "It classifies."
    assert made(Facts("A network", "somewhere")).license == "not stated"


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^name: "):
        made(Facts("A network", "somewhere"), name="No Such Name!")


@pytest.mark.parametrize("kind", [1, 2])
def test_words_are_edited_and_the_graph_stays(tmp_path: Path, kind: Digest) -> None:
    path = write_servable(tmp_path, card=color_card(kind=kind))
    before = read_card(path)

    edited = edit_card(path, ["title=Colors", "labels=r,g,b", 'scores={"top1": 0.5}'])

    assert edited == read_card(path)
    assert (edited.title, edited.labels, edited.scores) == (
        "Colors",
        ("r", "g", "b"),
        {"top1": 0.5},
    )
    assert edited.certificate == before.certificate
    check_certificate(path, edited)


def test_labels_may_be_a_list_of_json(tmp_path: Path) -> None:
    edited = edit_card(write_servable(tmp_path), ['labels=["red, bright", "g", "b"]'])
    assert edited.labels == ("red, bright", "g", "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("title", "write FIELD=VALUE"),
        ("task=detect", "FIELD one of title"),
        ("labels=a,b", "2 are given, the network has 3"),
        ('labels=["a", "b"]', "2 are given, the network has 3"),
        ('labels=["a", "b", 3]', "--set labels"),
        ('labels=["a", "b"', "not JSON"),
        ("background_id=none", "not JSON"),
        ('scores=["high"]', "--set scores"),
    ],
)
def test_a_change_that_does_not_fit_leaves_the_file_as_it_is(
    tmp_path: Path, change: str, message: str
) -> None:
    path = write_servable(tmp_path)
    before = path.read_bytes()
    with pytest.raises(RecipeError, match=message):
        edit_card(path, [change])
    assert path.read_bytes() == before


def test_a_missing_servable_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.onnx: No such file.*model\.onnx of a servable"):
        edit_card(tmp_path / "none.onnx", ["title=Colors"])


def test_a_file_that_is_no_servable_is_called_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\n")
    with pytest.raises(RecipeError, match=r"net\.py is Python code"):
        edit_card(tmp_path / "net.py", ["title=Colors"])
