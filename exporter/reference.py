"""The reference of every field of a recipe, made from the model: `foveal-export reference` → docs/recipe.md."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.options import RecipeOption, recipe_fields, recipe_options
from exporter.recipe import Recipe

HEAD = """# The fields of a recipe

Made by `make reference` from `exporter/recipe.py`. A recipe is a TOML file; each field is an option of `foveal-export`
too. Relative paths begin at the recipe's folder. What neither the recipe nor the source states has the default.

    source = "onnx:cats.onnx"
    task = "classify"
    name = "cats"
    labels = "cats.txt"

    [input]
    resize = "letterbox"
"""


def reference() -> str:
    """Return the page, a table for the recipe itself and one for each of its tables."""
    options = {path: option for option in recipe_options() for path in option.paths}
    parts = [HEAD]
    fields = sorted(recipe_fields(Recipe), key=lambda one: len(one[0]) > 1)
    for table, rows in groupby(fields, key=lambda one: one[0][:-1]):
        listed = list(rows)
        parts.append("\n".join(_table(table, listed, options)))
    return "\n".join(parts)


def _table(
    table: tuple[str, ...],
    rows: list[tuple[tuple[str, ...], str, FieldInfo]],
    options: dict[tuple[str, ...], RecipeOption],
) -> Iterator[str]:
    yield f"## [{'.'.join(table)}] {rows[0][1]}" if table else "## At the top"
    yield ""
    yield "| field | option | values | default | |"
    yield "|---|---|---|---|---|"
    for path, _, field in rows:
        option = options.get(path)
        cells = (
            f"`{path[-1]}`",
            f"`--{option.name}`" if option else "",
            _values(field),
            _default(field),
            str(field.description),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(bound, name)}"
        for bound in field.metadata
        for name, sign in {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}.items()
        if hasattr(bound, name)
    ]
    return " ".join([_type(field.annotation), " and ".join(bounds)]).strip()


_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true, false",
    Any: "any",
}


def _type(kind: Any) -> str:  # noqa: ANN401 - a type
    """Return a type in the words of TOML."""
    arguments = get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if get_origin(kind) is dict:
        return f"table of name = {_type(arguments[1])}"
    if get_origin(kind) is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} × "
        return f"list of {count}{_type(arguments[0])}"
    if arguments and all(isinstance(one, str) for one in arguments):
        return ", ".join(f"`{one}`" for one in arguments)
    if arguments:
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    return "path"


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or isinstance(value, BaseModel) or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
