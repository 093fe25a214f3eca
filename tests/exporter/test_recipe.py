"""Recipes: what they state, and what they are refused for."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import RecipeError
from exporter.labels import read_labels
from exporter.recipe import Pixels, make_recipe, read_recipe
from service.card import ImageInput

MINIMAL = {"source": "timm:net", "task": "classify", "name": "net"}


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(RecipeError, match=r"input\.hieght"):
        make_recipe({**MINIMAL, "input": {"hieght": 3}})


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml"):
        read_recipe(tmp_path / "none.toml")


def test_broken_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("source = ")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_recipe(tmp_path / "recipe.toml")


def test_files_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    lines = [f"{name} = {json.dumps(value)}" for name, value in MINIMAL.items()]
    (tmp_path / "recipe.toml").write_text("\n".join([*lines, 'labels = "labels.txt"']))
    assert read_recipe(tmp_path / "recipe.toml").label_list() == ("a", "b")


def test_json_labels_are_a_list_or_ids_with_synonyms(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('["a", "b"]')
    (tmp_path / "ids.json").write_text('{"0": "tench, Tinca tinca", "2": "cup"}')
    assert read_labels(tmp_path / "list.json") == ("a", "b")
    assert read_labels(tmp_path / "ids.json") == ("tench", "", "cup")


def test_a_package_that_is_not_installed_is_named_with_the_remedy() -> None:
    recipe = make_recipe({**MINIMAL, "weights": "package:no_such_package/w.pt"})
    with pytest.raises(RecipeError, match=r"no_such_package.*pip install"):
        recipe.locate("package:no_such_package/w.pt")


def test_the_recipe_takes_precedence_over_the_source() -> None:
    known = ImageInput(height=224, width=224, resize="crop", shorter_side=256)
    recipe = make_recipe({**MINIMAL, "input": {"interpolation": "bicubic"}})
    assert recipe.image_input(known) == known.model_copy(update={"interpolation": "bicubic"})


@pytest.mark.parametrize(
    ("stated", "shorter_side"),
    [
        (
            {"height": 288, "width": 288},
            329,
        ),  # 256 / 224, as timm's crop_pct and torchvision's sizes have it
        ({"height": 112, "width": 96}, 128),
        ({"height": 112}, 256),
        ({"height": 112, "width": 112, "shorter_side": 112}, 112),
        ({"interpolation": "bicubic"}, 256),
    ],
)
def test_a_crop_of_another_size_keeps_the_same_share_of_the_image(
    stated: dict[str, Any], shorter_side: int
) -> None:
    known = ImageInput(height=224, width=224, resize="crop", shorter_side=256)
    recipe = make_recipe({"source": "onnx:x", "task": "classify", "name": "x", "input": stated})
    assert recipe.image_input(known).shorter_side == shorter_side


def test_a_crop_without_a_shorter_side_keeps_all_it_can() -> None:
    recipe = make_recipe({**MINIMAL, "input": {"height": 20, "width": 30}})
    assert recipe.image_input(None).shorter_side == 30
    crop = make_recipe({**MINIMAL, "input": {"resize": "crop"}})
    known = ImageInput(height=20, width=30, resize="stretch")  # as an ONNX file of a fixed size
    assert crop.image_input(known).shorter_side == 30


@pytest.mark.parametrize("value", ["int8,fp32", "int8, fp32", ["int8", "fp32"]])
def test_precisions_are_a_string_or_a_list_in_order_of_preference(value: object) -> None:
    assert make_recipe({**MINIMAL, "precision": value}).precision == ("int8", "fp32")
    assert make_recipe({**MINIMAL, "precision": "fp16"}).precision == ("fp16",)


@pytest.mark.parametrize("value", ["int4", "", []])
def test_an_unknown_precision_is_refused(value: object) -> None:
    with pytest.raises(RecipeError, match="precision"):
        make_recipe({**MINIMAL, "precision": value})


@pytest.mark.parametrize(
    ("stated", "known", "assumed"),
    [
        ({}, None, ("mean", "std")),
        ({"color": "bgr", "scale": 1.0}, None, ("mean", "std")),
        ({"mean": [0.5, 0.5, 0.5]}, None, ("std",)),
        ({"std": [0.5, 0.5, 0.5]}, None, ("mean",)),
        ({"mean": [0, 0, 0], "std": [1, 1, 1]}, None, ()),
        ({"scale": 0.0078, "mean": [1, 1, 1]}, None, ()),  # complete: the std is 1
        ({}, Pixels(), ()),
        ({"mean": [0.5, 0.5, 0.5]}, Pixels(), ()),
    ],
)
def test_mean_and_std_that_nobody_states_are_assumed(
    stated: dict[str, Any], known: Pixels | None, assumed: tuple[str, ...]
) -> None:
    recipe = make_recipe({**MINIMAL, "pixels": stated})
    assert recipe.assumed_pixels(known) == assumed
    if not stated:
        assert make_recipe(MINIMAL).assumed_pixels(known) == assumed


@pytest.mark.parametrize(
    "name", ["", "Cats", "../cats", "cats/1", "\N{CAT FACE}", "-cats", "a" * 65]
)
def test_a_name_that_can_not_be_served_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"name: .*can not name a servable; use a-z"):
        make_recipe({**MINIMAL, "name": name})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixels": {"std": [0.2, 0, 0.2]}}, r"^pixels\.std: 0 would make"),
        (
            {"pixels": {"std": [0.2, -1, 0.2]}},
            r"^pixels\.std: -1 is no standard deviation: give.*above 0",
        ),
        ({"pixels": {"std": [float("nan")] * 3}}, r"^pixels\.std: NaN and infinity"),
        ({"pixels": {"std": [float("inf")] * 3}}, r"^pixels\.std: NaN and infinity"),
        ({"pixels": {"scale": float("nan")}}, r"^pixels\.scale: NaN and infinity"),
        ({"pixels": {"std": [0.2, 0.2]}}, r"^pixels\.std"),
        ({"pixels": {"scale": 0}}, r"^pixels\.scale: 0 would make"),
        ({"pixels": {"mean": [float("nan")] * 3}}, r"^pixels\.mean: NaN and infinity"),
    ],
)
def test_pixel_values_that_no_network_reads_are_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        make_recipe({**MINIMAL, **fields})


def test_a_wrong_size_is_named_by_its_field() -> None:
    with pytest.raises(RecipeError, match=r"^input\.height: 0 is less than 1"):
        make_recipe({**MINIMAL, "input": {"height": 0, "width": 8}})


def test_a_folder_in_place_of_a_file_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    recipe = make_recipe({**MINIMAL, "folder": tmp_path})
    with pytest.raises(RecipeError, match="source 'weights': this is a folder, not a file"):
        recipe.locate("weights")
