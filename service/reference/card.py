"""The reference of the card as Markdown, made from its fields."""

from collections.abc import Iterator
from datetime import date
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.card import Card
from service.reference.markdown import cell, table

HEADER = """# The card

Made from `service/card.py` by `make reference`; do not edit.

A servable is one ONNX file that says everything about itself: its card is JSON under `foveal.card` in the file's
`metadata_props`. `foveal-export` writes it, `make inspect ARGS=FILE` shows it, and `GET /v1/models` returns it as
`card`. A file without a card is not served; see [how to adopt one](../exporter/README.md#onnx-files-as-they-are-found).
A field that is not required has its default where the card does not state it.
"""

SECTIONS = {
    "ImageInput": "input",
    "Window": "window",
    "Stage": "stages",
    "Cost": "cost",
    "Normalization": "normalization",
    "BoxForm": "boxes",
    "CutCandidates": "cut",
    "Accuracy": "accuracy",
    "Variant": "variant",
    "Certificate": "certificate",
}
"""The field under which each part of a card stands, which is the title of its section."""

WORDS: dict[object, tuple[str, str]] = {
    str: ("text", "texts"),
    int: ("integer", "integers"),
    float: ("number", "numbers"),
    bool: ("true or false", "true or false"),
    date: ("date", "dates"),
}
"""Types in words, one of them and several."""


def reference() -> str:
    """Return a table of the card's fields, and one of the fields of each of its parts."""
    parts = (line for part in _models_in(Card) for line in _section(part))
    return "\n".join([HEADER, *_table(Card), *parts])


def _section(part: type[BaseModel]) -> list[str]:
    (first, *_) = (part.__doc__ or "").split("\n\n")
    return [f"## {SECTIONS[part.__name__]}", "", " ".join(first.split()), "", *_table(part)]


def _table(model: type[BaseModel]) -> list[str]:
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    return table(("field", "type", "default", "meaning"), rows)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = "required" if field.is_required() else _default(field.default)
    return f"`{name}`", _type(field.annotation), default, cell(field.description or "")


def _default(value: object) -> str:
    return "" if value in (None, "", (), {}) else f"`{_json(value)}`"


def _json(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(annotation: Any, *, several: bool = False) -> str:  # noqa: ANN401  # a type
    """Return a type in words; None as an alternative is left out, since the default shows it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is not None:
        return _composed(origin, arguments, several=several)
    if issubclass(annotation, BaseModel):
        section = SECTIONS[annotation.__name__]
        return f"[{section}](#{section})"
    return WORDS[annotation][several]


def _composed(origin: object, arguments: tuple[Any, ...], *, several: bool) -> str:
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is tuple:
        length = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"list of {length}{_type(arguments[0], several=True)}"
    if origin is dict:
        return f"{'objects' if several else 'object'} of {_type(arguments[1], several=True)}"
    alternatives = arguments[:1] if origin is Annotated else arguments
    return " or ".join(_type(one, several=several) for one in alternatives if one is not NoneType)


def _models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the models that the fields of a model lead to, in their order."""
    for field in model.model_fields.values():
        yield from _models_of(field.annotation)


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401  # a type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for one in get_args(annotation):
        yield from _models_of(one)
