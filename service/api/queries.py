"""What a request's query may hold, made from the tasks: declared once, checked and documented from there."""

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from typing import Annotated, Any, Literal, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from service.api.errors import invalid_parameters
from service.api.version import AS_WRITTEN
from service.chains.chains import CHAIN
from service.errors import InvalidParameterError
from service.tasks.task import OverTime, Task, TaskOptions
from service.video.options import SamplingOptions

KNOWN_QUERIES = 512
"""How many query strings are remembered with their meaning; clients send the same few."""
LONGEST_KNOWN_QUERY = 1024
"""Bytes of a query string that is remembered: with 512 strings of 64 KiB, each task would hold 100 MiB for ever."""
MOST_PARAMETERS = 1000
"""Parameters of a query: room for every class of ImageNet."""


class ModelQuery(TaskOptions):
    """Which model answers."""

    model: Annotated[
        str | None,
        Field(
            max_length=97,
            description="Model name, `name:version` or `name@alias`; default: the task's default model",
        ),
    ] = None
    version: Annotated[
        int | None,
        Field(ge=1, description="Model version; default: by the model's shares, else the newest"),
        AS_WRITTEN,
    ] = None


class FormatQuery(ModelQuery):
    """Which model answers, and in which form."""

    format: str | None = None


class VideoQuery(FormatQuery, SamplingOptions):
    """Which frames of a video run through which task, and in which form the results come."""

    task: str = ""


def task_query(task: Task) -> type[ModelQuery]:
    """Return the query parameters of a task's route: the model, the format, the task's options."""
    forms = {name: rendering.summary for name, rendering in task.renderings.items()}
    text = "; ".join(f"`{name}`: {summary}" for name, summary in forms.items())
    form: Any = Literal[("json", *forms)]
    fields: dict[str, Any] = {}
    if forms:
        description = f"{text}. Default: by `Accept`, else JSON"
        fields["format"] = (Annotated[form | None, Field(description=description)], None)
    name = f"{task.type_name}Query"
    base: Any = (FormatQuery if forms else ModelQuery, task.options)
    make: Any = create_model
    query: type[ModelQuery] = make(name, __base__=base, **fields)
    return query


def video_query(tasks: Mapping[str, Task]) -> type[VideoQuery]:
    """Return the query parameters of the video route: the frames, the task, and the options of all tasks.

    The options are checked by the model of the task that is wanted, see `video_options`. The document describes an
    option that several tasks declare alike; one that they declare differently has no type there.
    """
    running = {name: task.over_time for name, task in tasks.items() if task.over_time}
    fields: dict[str, Any] = {
        "task": (
            Annotated[
                Literal[(*running, CHAIN)],
                Field(
                    description="What to do with each frame, or with all; `chain` with the name of a chain as `model`"
                ),
            ],
            next(iter(running)),
        ),
        "format": (
            Annotated[
                Literal["json", "overlay"] | None,
                Field(
                    description="`overlay`: an MP4 of the frames with their results drawn; default: by `Accept`"
                ),
            ],
            None,
        ),
    }
    for option, owners in owners_of(running).items():
        info = running[owners[0]].options.model_fields[option]
        if any(_differ(info, running[owner].options.model_fields[option]) for owner in owners):
            text = f"{', '.join(owners)}: each has its own range and default, see its reference"
            fields[option] = (Any, Field(None, description=text))
            continue
        described = copy(info)
        text = (info.description or "")[:1].lower() + (info.description or "")[1:]
        described.description = f"{', '.join(owners)}: {text}"
        fields[option] = (info.annotation, described)
    query: type[VideoQuery] = create_model("VideoQuery", __base__=VideoQuery, **fields)
    return query


def owners_of(running: Mapping[str, OverTime]) -> dict[str, list[str]]:
    """Return the names of the tasks that have each option."""
    owners: dict[str, list[str]] = {}
    for name, over_time in running.items():
        for option in over_time.options.model_fields:
            owners.setdefault(option, []).append(name)
    return owners


def video_options(query: VideoQuery, tasks: Mapping[str, Task]) -> TaskOptions:
    """Return the options of the task that a query names.

    Raises:
        InvalidParameterError: an option is given that belongs to other tasks, or is out of the task's range.
    """
    running = {name: task.over_time for name, task in tasks.items() if task.over_time}
    owners = owners_of(running)
    foreign = sorted(
        option
        for option in query.model_fields_set & owners.keys()
        if query.task not in owners[option]
    )
    if foreign:
        raise InvalidParameterError(f"{', '.join(foreign)}: not for task={query.task}")
    if query.task == CHAIN:
        return TaskOptions()
    options = running[query.task].options
    given = query.model_fields_set & options.model_fields.keys()
    try:
        return options.model_validate({name: getattr(query, name) for name in given})
    except ValidationError as error:
        raise invalid_parameters(error.errors()) from error


def _differ(one: FieldInfo, other: FieldInfo) -> bool:
    """Tell whether two tasks declare an option differently."""
    return (one.annotation, one.default, one.metadata) != (
        other.annotation,
        other.default,
        other.metadata,
    )


def require_few_parameters(query: bytes) -> None:
    """Refuse a query string with more than `MOST_PARAMETERS` before anything is made of them.

    Raises:
        InvalidParameterError: it has more.
    """
    if (found := query.count(b"&") + 1) > MOST_PARAMETERS:
        raise InvalidParameterError(
            f"The query has {found} parameters; at most {MOST_PARAMETERS} are allowed. Send fewer."
        )


async def require_single_parameters(request: Request) -> None:
    """Refuse a query that has a parameter of its route more than once, for all routes of FastAPI; it takes the last.

    Raises:
        InvalidParameterError: it has.
    """
    query = request.scope["query_string"]
    if b"&" not in query:
        return
    declared = getattr(request.scope.get("route"), "dependant", None)  # codespell:ignore dependant
    single: set[str] = set()
    for parameter in declared.query_params if declared else []:
        kind = parameter.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            single |= kind.model_fields.keys() - _several_in(kind)
        else:
            single.add(parameter.alias)
    seen: set[str] = set()
    for name, _ in _pairs(query):
        if name in seen:
            raise _given_again(name)
        if name in single:
            seen.add(name)


class QueryReader:
    """Reads query strings as one model; the same string is read once."""

    def __init__(self, query: type[TaskOptions]) -> None:
        self._query = query
        self._several = _several_in(query)
        self._known = lru_cache(KNOWN_QUERIES)(self._read)

    def read(self, query: bytes) -> Any:  # noqa: ANN401  # an instance of the model that was given
        """Return the parameters of a query string.

        Raises:
            InvalidParameterError: a parameter is unknown, out of range or there again, which the message names; or
                there are more than `MOST_PARAMETERS`.
        """
        return (self._known if len(query) <= LONGEST_KNOWN_QUERY else self._read)(query)

    def _read(self, query: bytes) -> Any:  # noqa: ANN401  # as `read`
        require_few_parameters(query)
        given: dict[str, Any] = {}
        for name, value in _pairs(query):
            if name in self._several:
                given.setdefault(name, []).append(value)
            elif name in given and name in self._query.model_fields:
                raise _given_again(name)
            else:
                given[name] = value
        try:
            return self._query.model_validate(given)
        except ValidationError as error:
            raise invalid_parameters(error.errors(), self._query.model_fields) from error


def _pairs(query: bytes) -> list[tuple[str, str]]:
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True)


def _several_in(query: type[BaseModel]) -> set[str]:
    """Return the names of the parameters that may be there more than once."""
    fields = query.model_fields.items()
    return {name for name, field in fields if get_origin(field.annotation) in {list, tuple}}


def _given_again(name: str) -> InvalidParameterError:
    return InvalidParameterError(f"{name}: it is there more than once. Send it once")
