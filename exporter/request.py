"""What the command line asks for: a recipe, the file to make of it, and the recipe file to write beside that."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.errors import RecipeError
from exporter.options import given_options, option_error, recipe_content
from exporter.recipe import PACKAGE_PREFIX, Recipe, read_recipe
from exporter.toml import toml_text
from exporter.writing import MODEL_FILE, next_version

DEFAULT_MODELS = Path("models")

FILE_SOURCES = ("onnx", "program", "torchscript", "transformers")
CODE_SOURCES = ("python", "train")
NAMES_OF_WEIGHTS = ("DEFAULT", "none")
FILES_OF_PROOF = ("images", "labeled", "labeled_images")


@dataclass(frozen=True, slots=True)
class Request:
    """A recipe, the path of the servable, and the text of the recipe file beside it, None where it exists."""

    recipe: Recipe
    path: Path
    recipe_text: str | None = None


def make_request(source: str, values: dict[str, Any], models: Path | None) -> Request:
    """Return the request of a command line.

    A recipe file is taken as it is: options beside it are refused, since the file would no longer say how the
    servable is made.

    Args:
        source: a recipe file, or a source.
        values: the values of the options, by the parameter's name.
        models: the model repository; None where it was not given.

    Raises:
        RecipeError: a value is wrong, or options stand beside a recipe file.
    """
    if source.endswith(".toml"):
        if models is not None:
            raise RecipeError(
                f"--models beside {source}: a recipe's servable is written beside the recipe. Leave --models out and "
                "copy the folder of the version afterwards, or give the recipe's source and options instead of the file"
            )
        given = given_options(values)
        if given:
            names = ", ".join(f"--{name}" for name in given)
            raise RecipeError(
                f"{names} beside {source}: a recipe states everything itself. Write it into the recipe, or give its "
                "source and options instead of the file"
            )
        recipe = read_recipe(Path(source))
        return Request(recipe, servable_of(Path(source), recipe.version))
    content = recipe_content(source, values)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise option_error(error) from error
    path = next_version((models or DEFAULT_MODELS) / recipe.name)
    version = int(path.parent.name)
    recipe = recipe.model_copy(update={"version": version})
    return Request(recipe, path, recipe_text({**content, "version": version}, path.parent))


def servable_of(recipe_file: Path, version: int) -> Path:
    """Return the servable that a recipe file makes: beside it in a version's folder, else in that folder below it."""
    folder = recipe_file.absolute().parent
    if folder.name == str(version):
        return recipe_file.parent / MODEL_FILE
    return recipe_file.parent / str(version) / MODEL_FILE


def recipe_text(content: Mapping[str, Any], folder: Path) -> str:
    """Return the text of a recipe file for a folder, from the content of a recipe of the working folder.

    Files become relative to that folder, and the folder of python: and train: modules is stated.

    Raises:
        RecipeError: a value can not stand in a recipe file.
    """
    written = {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in content.items()
    }
    kind, _, where = str(content["source"]).partition(":")
    if kind in FILE_SOURCES:
        written["source"] = f"{kind}:{_relative(where, folder)}"
    for name in ("labels", "backbone", "weights"):
        value = content.get(name)
        if isinstance(value, str) and _is_file(value):
            written[name] = _relative(value, folder)
    for name in FILES_OF_PROOF:
        value = content.get("proof", {}).get(name)
        if value is not None:
            written["proof"][name] = _relative(value, folder)
    if kind in CODE_SOURCES:
        code = Path(content.get("code", "."))
        if "code" in content or _has_module(code, where):
            written["code"] = _relative(code, folder)
    try:
        return toml_text(written)
    except ValueError as error:
        raise RecipeError(f"the recipe can not be written: {error}") from error


def _is_file(value: str) -> bool:
    is_name = value in NAMES_OF_WEIGHTS or value.startswith(PACKAGE_PREFIX)
    return not is_name and Path(value).is_file()


def _relative(file: str | Path, folder: Path) -> str:
    """Return a path from the folder of the recipe file, with slashes."""
    return Path(os.path.relpath(file, folder)).as_posix()


def _has_module(folder: Path, where: str) -> bool:
    """Return whether a folder has the package or module in which a callable is."""
    top = where.partition(":")[0].partition(".")[0]
    return PathFinder.find_spec(top, [str(folder.resolve())]) is not None
