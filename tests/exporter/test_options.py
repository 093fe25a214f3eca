"""The command-line options: one for each field of the recipe, and each value reaches its field."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from exporter.cli import app, main
from exporter.errors import RecipeError
from exporter.options import RecipeOption, recipe_content, recipe_options
from exporter.recipe import Recipe, make_recipe
from exporter.toml import toml_text

WITHOUT_OPTION = {("source",), ("version",), ("folder",), ("none_arguments",)}
"""The source is an argument, the version is the next free one, the folder is that of a recipe file, and an argument
that is None is written as --arg NAME=None."""

OPTIONS = recipe_options()

EXAMPLES: dict[str, tuple[list[str], object]] = {
    "task": (["detect"], "detect"),
    "arg": (["num_classes=3", "variant=b"], {"num_classes": 3, "variant": "b"}),
    "score": (["top1=0.5"], {"top1": 0.5}),
    "outputs": (["boxes,scores", "more"], ("boxes", "scores", "more")),
    "precision": (["int8", "fp32"], ("int8", "fp32")),
    "variants": (["int8,bf16", "fp16"], ("int8", "bf16", "fp16")),
    "mean": (["1"], (1.0, 1.0, 1.0)),
    "std": (["1,2,3"], (1.0, 2.0, 3.0)),
    "pad-color": (["1,2,3"], (1, 2, 3)),
    "images": (["photos"], Path("photos").resolve()),
    "labeled": (["photos"], Path("photos").resolve()),
    "labeled-images": (["photos"], Path("photos").resolve()),
    "code": (["src"], Path("src").resolve()),
    "layout": (["NHWC"], "NHWC"),
    "color": (["gray"], "gray"),
    "resize": (["stretch"], "stretch"),
    "interpolation": (["linear"], "linear"),
    "placement": (["corner"], "corner"),
    "activation": (["sigmoid"], "sigmoid"),
    "decoder": (["yolov8"], "yolov8"),
    "box-format": (["xywh"], "xywh"),
    "box-unit": (["pixel"], "pixel"),
    "background": (["first"], "first"),
    "multi-label": ([], True),
    "one-class-a-box": ([], True),
    "nms-free": ([], True),
    "best-only": ([], True),
    "agreement": (["0.5"], 0.5),
}
"""The words of an option, and the value of its field; the others are texts or numbers."""

NEEDED: dict[str, list[str]] = {
    "window": ["--window-frames", "9", "--window-stride", "9", "--window-fps", "9"]
}
"""What a table's options need beside them, since its fields have no defaults."""

TASKS = {"segment": "segment", "detect": "detect", "window": "temporal"}


def leaves(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field of a model, tables included."""
    for name, field in model.model_fields.items():
        tables = [
            kind
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if tables:
            yield from ((name, *inner) for inner in leaves(tables[0]))
        else:
            yield (name,)


def read(*words: str) -> dict[str, Any]:
    """Return the content of the recipe that a command line describes."""
    command = get_command(app).commands["export"]  # type: ignore[attr-defined] # typer's group
    values = command.make_context("export", ["onnx:net.onnx", *words]).params
    return recipe_content(values["source"], values)


def words_of(option: RecipeOption) -> tuple[list[str], object]:
    """Return an example of an option on the command line, and the value of its field."""
    is_text = "str" in str(option.field.annotation)
    words, expected = EXAMPLES.get(option.name, (["text"], "text") if is_text else (["3"], 3))
    name = f"--{option.name}"
    return [part for word in words for part in (name, word)] or [name], expected


def test_every_field_of_a_recipe_is_an_option_and_every_option_a_field() -> None:
    set_by_options = [path for option in OPTIONS for path in option.paths]
    assert len(set(set_by_options)) == len(set_by_options)
    assert set(set_by_options) == set(leaves(Recipe)) - WITHOUT_OPTION


def test_the_command_line_has_every_option_under_its_own_name() -> None:
    export = get_command(app).commands["export"]  # type: ignore[attr-defined] # typer's group
    names = {name for parameter in export.params for name in parameter.opts}
    assert names == {"source", "--models", "--explain"} | {f"--{option.name}" for option in OPTIONS}
    assert {"--license", "--color", "--box-format", "--multi-label", "--activation"} <= names


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_value_of_an_option_reaches_the_recipe(option: RecipeOption) -> None:
    words, expected = words_of(option)
    for path in option.paths:
        task = TASKS.get(path[0], "classify")

        content = read("--name", "net", "--task", task, *NEEDED.get(path[0], []), *words)

        found: Any = make_recipe(content)
        for name in path:
            found = getattr(found, name)
        assert found == expected


@pytest.mark.parametrize("words", [["--pictures", "photos"], ["--pictures=photos"]])
def test_images_may_be_called_pictures_which_the_help_does_not_show(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe({**read("--task", "classify", *words), "name": "net"})
    with pytest.raises(SystemExit):
        main(["export", "--help"])

    assert recipe.proof.images == Path("photos").resolve()
    assert "pictures" not in capsys.readouterr().out


def test_the_value_of_an_option_is_not_taken_for_the_name_of_one() -> None:
    assert read("--task", "classify", "--title", "pictures")["title"] == "pictures"


def test_options_that_are_not_given_leave_the_recipe_to_its_defaults() -> None:
    content = read("--name", "net", "--task", "classify")
    assert content == {"source": "onnx:net.onnx", "task": "classify", "name": "net"}


def test_an_option_of_other_tasks_is_refused() -> None:
    with pytest.raises(
        RecipeError, match="--activation is for task classify and segment and detect"
    ):
        read("--task", "embed", "--activation", "softmax")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mean", "red"], "--mean red: write 3 numbers"),
        (["--pad-color", "1,2,x"], "--pad-color 1,2,x: write 3 numbers"),
        (["--std", "1,2"], "--std 1,2: write 3 numbers"),
        (["--std", "1,2,3,4"], "--std 1,2,3,4: write 3 numbers"),
        (["--scale", "1/0"], "--scale 1/0: write a number, as 0.5, or a fraction, as 1/255"),
        (["--scale", "a"], "--scale a: write a number"),
        (["--tolerance", ""], "--tolerance : write a number"),
        (["--arg", "num_classes"], "--arg num_classes: write NAME=VALUE"),
    ],
)
def test_a_value_of_the_wrong_form_names_its_option(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read(*words)


def test_a_number_may_be_a_fraction() -> None:
    content = read(
        *("--name", "net", "--task", "classify"),
        *("--scale", "1/255", "--mean=-1/2,0.5,124/255", "--std", "1/2", "--tolerance", "1e-2"),
    )
    recipe = make_recipe(content)

    assert recipe.pixels is not None
    assert recipe.pixels.scale == 1 / 255
    assert recipe.pixels.mean == (-0.5, 0.5, 124 / 255)
    assert recipe.pixels.std == (0.5, 0.5, 0.5)
    assert recipe.proof.tolerance == 0.01


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "0.2,-0.2,0.2"])
def test_a_std_that_can_not_be_is_refused_by_the_name_of_its_option(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["torchvision:resnet18", "--task", "embed", "--name", "net", f"--std={text}"]
    with pytest.raises(SystemExit):
        main(words)
    assert "--std: " in capsys.readouterr().out


def test_the_help_shows_range_default_and_choices_of_the_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--box-unit frame|pixel" in shown
    assert "[≥ 1 and ≤ 16384] [default: 2048]" in shown
    assert "--precision fp32|fp16|int8,…" in shown
    assert shown.index("Image input:") < shown.index("--height") < shown.index("Pixel values:")


def test_every_option_has_a_help_text_and_belongs_to_a_group() -> None:
    assert all(option.field.description for option in OPTIONS)
    assert {option.group for option in OPTIONS} == {
        "Recipe",
        "Image input",
        "Pixel values",
        "Task segment",
        "Task detect",
        "Task classify and task segment and task detect",
        "Task temporal",
        "Proof",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1_000", 1000),
        ("0x10", 16),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("inf", float("inf")),
        ("true", True),
        ("false", False),
        ("True", True),
        ("False", False),
        ("avg", "avg"),
        (" avg ", " avg "),
        (" ", " "),
        (" 3 ", 3),
        (" True", True),
        ('" avg "', " avg "),
        ("3x3", "3x3"),
        ('"3"', "3"),
        ("'3'", "3"),
        ("[1, 2, 3]", [1, 2, 3]),
        ("['a', 'b']", ["a", "b"]),
        ("{ depth = 2 }", {"depth": 2}),
        ("a=b", "a=b"),
        ("1\nname = 2", "1\nname = 2"),
        ("", ""),
    ],
)
def test_an_argument_has_the_type_that_toml_gives_it(text: str, value: object) -> None:
    found = read("--task", "classify", "--arg", f"one={text}")["arguments"]["one"]
    assert (found, type(found)) == (value, type(value))


def test_blanks_around_the_sign_mean_nothing_where_an_argument_is_written_as_in_toml() -> None:
    found = read("--task", "classify", "--arg", "norm = batch ", "--arg", "act= relu ")["arguments"]
    assert found == {"norm": "batch", "act": " relu "}


def test_none_is_python_s_none_and_stands_in_a_recipe_as_a_list_of_names() -> None:
    words = ["--name", "net", "--task", "classify", "--arg", "norm=None", "--arg", "text='None'"]
    content = read(*words)
    assert content["none_arguments"] == ["norm"]
    assert content["arguments"] == {"text": "None"}
    again = make_recipe(tomllib.loads(toml_text(content)))
    assert again.arguments == {"text": "None", "norm": None}
    assert again == make_recipe(again.model_dump())


def test_json_s_word_for_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"--arg norm=null: .* write NAME=None"):
        read("--task", "classify", "--arg", "norm=null")


def test_an_argument_is_none_or_has_a_value() -> None:
    content = {"source": "python:a:b", "name": "net", "task": "classify"}
    both = {"arguments": {"norm": "batch"}, "none_arguments": ["norm"]}
    with pytest.raises(RecipeError, match="norm is in arguments and in none_arguments"):
        make_recipe({**content, **both})
