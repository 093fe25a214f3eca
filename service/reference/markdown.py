"""Markdown for pages of reference: tables, and what a pydantic field allows."""

from collections.abc import Iterable
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo


def values_of(field: FieldInfo) -> str:
    """Return the values that a field allows: names, or a range."""
    names = _names(field.annotation)
    if names:
        return ", ".join(f"`{name}`" for name in names)
    bounds = {}
    for one in field.metadata:
        bounds.update({key: getattr(one, key) for key in ("gt", "ge", "le") if hasattr(one, key)})
    low = f"above {bounds['gt']}" if "gt" in bounds else bounds.get("ge")
    if low is not None and "le" in bounds:
        return f"{low} to {bounds['le']}"
    return f"from {low}" if low is not None else ""


def _names(annotation: Any) -> list[str]:  # noqa: ANN401  # a type
    if annotation is bool:
        return ["true", "false"]
    if str(get_origin(annotation)) == "typing.Literal":
        return [str(one) for one in get_args(annotation)]
    return [name for one in get_args(annotation) for name in _names(one)]


def plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def table(names: Iterable[str], rows: Iterable[tuple[str, ...]]) -> list[str]:
    head = list(names)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def cell(text: str) -> str:
    """Return text that can stand in a cell of a table: on one line, with a period at its end."""
    one = " ".join(text.split()).replace("|", r"\|")
    return one if one.endswith((".", ")")) else f"{one}."
