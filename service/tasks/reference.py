"""The reference of the tasks as Markdown, made from the tasks."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from service.tasks.task import Task, TaskOptions

HEADER = """# Tasks

Made from `service/tasks` by `make reference`; do not edit.
"""


def reference(tasks: Mapping[str, Task]) -> str:
    """Return one section per task: its path, its options for images and for videos, its formats."""
    return "\n".join([HEADER, *(_section(task) for task in tasks.values())])


def _section(task: Task) -> str:
    parts = [f"## {task.name}", "", f"{task.summary}.", ""]
    if task.head is not None:
        parts += [f"`POST /v1/{task.name}`", "", *_options(task.options)]
        parts += _formats(task)
    if task.over_time is not None:
        parts += [f"`POST /v1/video?task={task.name}`", "", *_options(task.over_time.options)]
    others = [name for name in task.networks if name != task.name]
    if others:
        parts += [f"Networks for {', '.join(others)} can do it too.", ""]
    return "\n".join(parts)


def _options(options: type[TaskOptions]) -> list[str]:
    if not options.model_fields:
        return ["It has no options of its own.", ""]
    rows = (_row(name, field) for name, field in options.model_fields.items())
    return _table(("option", "default", "values", "meaning"), rows)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = field.default
    shown = "" if default is None or default == () else f"`{_plain(default)}`"
    return f"`{name}`", shown, _values(field), field.description or ""


def _formats(task: Task) -> list[str]:
    if not task.renderings:
        return []
    rows = (
        (f"`{name}`", ", ".join(f"`{one}`" for one in rendering.media_types), rendering.summary)
        for name, rendering in task.renderings.items()
    )
    return _table(("`format`", "media types", "meaning"), rows)


def _values(field: FieldInfo) -> str:
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


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(names: Iterable[str], rows: Iterable[tuple[str, ...]]) -> list[str]:
    head = list(names)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
