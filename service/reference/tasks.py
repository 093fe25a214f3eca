"""The reference of the tasks as Markdown, made from the tasks."""

from collections.abc import Mapping

from pydantic.fields import FieldInfo

from service.reference.markdown import plain, table, values_of
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
    return table(("option", "default", "values", "meaning"), rows)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = field.default
    shown = "" if default is None or default == () else f"`{plain(default)}`"
    return f"`{name}`", shown, values_of(field), field.description or ""


def _formats(task: Task) -> list[str]:
    if not task.renderings:
        return []
    rows = (
        (f"`{name}`", ", ".join(f"`{one}`" for one in rendering.media_types), rendering.summary)
        for name, rendering in task.renderings.items()
    )
    return table(("`format`", "media types", "meaning"), rows)
