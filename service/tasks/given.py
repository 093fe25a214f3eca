"""A task's options as a program gives them: an instance, or fields by name."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from service.errors import InvalidParameterError
from service.faults import shown, unknown_parameter, words_of
from service.tasks.task import TaskOptions


def options_of(
    kind: type[TaskOptions], given: TaskOptions | Mapping[str, Any] | None
) -> TaskOptions:
    """Return options of the kind that a task takes.

    Raises:
        InvalidParameterError: they are of another kind, or out of range.
    """
    if isinstance(given, TaskOptions):
        if not isinstance(given, kind):
            raise InvalidParameterError(
                f"options: must be {kind.__name__}, not {type(given).__name__}"
            )
        return given
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise InvalidParameterError(unknown_parameter(name, kind.model_fields)) from error
        raise InvalidParameterError(
            f"{name}: {words_of(first)}, not {shown(first['input'])}"
        ) from error
