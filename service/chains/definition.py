"""What a chain is: two or three steps, of which each later one reads what an earlier one has found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ConfigurationError
from service.runtime.fleet import Version
from service.tasks.task import Task, TaskOptions
from service.toml_file import parse_toml

MOST_CROPS = 2000
"""Crops that one image may become, whatever it shows."""
MOST_BOXES = 300
CROP_FIELDS = ("of", "labels", "margin", "square", "background", "max_boxes", "min_side")
_STRICT = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Step(BaseModel):
    """One step as chain.toml states it; all but the first crop boxes of a step before them."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    task: str
    model: str
    version: Version | None = None
    options: dict[str, Any] = {}
    boxes: dict[str, Any] = {}
    of: str | None = None
    labels: tuple[str, ...] = ()
    margin: float = Field(0.0, ge=0, le=4)
    square: bool = False
    background: Literal["keep", "mean"] = "keep"
    max_boxes: int = Field(32, ge=1, le=MOST_BOXES)
    min_side: float = Field(0.0, ge=0, le=1)


class _File(BaseModel):
    model_config = _STRICT

    title: str = Field("", max_length=200)
    description: str = Field("", max_length=2000)
    steps: tuple[Step, ...] = Field(min_length=2, max_length=3)


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """A step with its task and its options as the task has them.

    Attributes:
        stated: the step as the file states it.
        task: what it does.
        options: the task's own options, not yet held against a model.
        boxes: how its boxes are found; None where no other step crops them.
        followers: the steps that crop its boxes.
    """

    stated: Step
    task: Task
    options: TaskOptions
    boxes: TaskOptions | None
    followers: "tuple[CheckedStep, ...]"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that fits the tasks; whether its models are there is known when it runs."""

    name: str
    title: str
    description: str
    first: CheckedStep
    steps: tuple[Step, ...]


def parse_chain(name: str, text: str, tasks: Mapping[str, Task]) -> Chain:
    """Return a chain from the text of its file.

    Raises:
        ConfigurationError: the text is no chain; the message names the field.
    """
    try:
        file = _File.model_validate(parse_toml(text))
    except ValidationError as error:
        raise ConfigurationError(_described(error)) from error
    for index, step in enumerate(file.steps):
        _check_place(file.steps, index)
        _check_fields(step, index, tasks)
    first = _checked(0, file.steps, _children(file.steps), tasks)
    _check_count(file.steps)
    return Chain(name, file.title or name, file.description, first, file.steps)


def _described(error: ValidationError, place: str = "") -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join([*([place] if place else []), *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such field"
    if first["type"] == "missing":
        return f"{where}: is missing"
    reason, given = f"{first['msg'][:1].lower()}{first['msg'][1:]}", first["input"]
    if isinstance(given, (list, tuple, dict)):
        return f"{where}: {reason}"
    return f"{where}: {reason}, not {given!r}"


def _check_place(steps: tuple[Step, ...], index: int) -> None:
    """Check that a step's name is its own, and that it crops boxes of a step before it: so there are no cycles."""
    step, before = steps[index], [one.name for one in steps[:index]]
    if step.name in before:
        raise ConfigurationError(f"steps.{index}.name: {step.name!r} is the name of another step")
    if index == 0:
        given = [name for name in CROP_FIELDS if name in step.model_fields_set]
        if given:
            raise ConfigurationError(
                f"steps.0.{given[0]}: the first step sees the whole image and crops nothing"
            )
    elif step.of is not None and step.of not in before:
        later = step.of in {one.name for one in steps[index:]}
        why = "does not come before it" if later else "is no step"
        raise ConfigurationError(
            f"steps.{index}.of: {step.of!r} {why}. {step.name} can crop boxes of: {', '.join(before)}"
        )


def _check_fields(step: Step, index: int, tasks: Mapping[str, Task]) -> None:
    task = tasks.get(step.task)
    if task is None or task.head is None:
        able = ", ".join(name for name, one in tasks.items() if one.head is not None)
        raise ConfigurationError(
            f"steps.{index}.task: {step.task!r} is no task that takes images. Tasks: {able}"
        )


def _children(steps: tuple[Step, ...]) -> dict[str, list[int]]:
    """Return, by the name of a step, the indices of those that crop its boxes."""
    found: dict[str, list[int]] = {step.name: [] for step in steps}
    for index, step in enumerate(steps[1:], 1):
        found[step.of or steps[index - 1].name].append(index)
    return found


def _check_count(steps: tuple[Step, ...]) -> None:
    """Check that one image can not become too many crops."""
    crops: dict[str, int] = {steps[0].name: 1}
    for index, step in enumerate(steps[1:], 1):
        crops[step.name] = crops[step.of or steps[index - 1].name] * step.max_boxes
    if (total := sum(crops.values()) - 1) > MOST_CROPS:
        raise ConfigurationError(
            f"steps.{len(steps) - 1}.max_boxes: an image could become {total} crops, and {MOST_CROPS} are allowed"
        )


def _checked(
    index: int,
    steps: tuple[Step, ...],
    children: Mapping[str, list[int]],
    tasks: Mapping[str, Task],
) -> CheckedStep:
    step = steps[index]
    task = tasks[step.task]
    below = children[step.name]
    if below and task.boxes is None:
        able = ", ".join(name for name, one in tasks.items() if one.boxes is not None)
        raise ConfigurationError(
            f"steps.{below[0]}.of: {step.name} does {step.task}, which finds no boxes. Tasks that do: {able}"
        )
    if not below and step.boxes:
        raise ConfigurationError(f"steps.{index}.boxes: no step crops the boxes of {step.name}")
    return CheckedStep(
        step,
        task,
        _options(task.options, step.options, f"steps.{index}.options"),
        _options(task.boxes.options, step.boxes, f"steps.{index}.boxes")
        if below and task.boxes
        else None,
        tuple(_checked(one, steps, children, tasks) for one in below),
    )


def _options(kind: type[TaskOptions], given: Mapping[str, Any], place: str) -> TaskOptions:
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigurationError(_described(error, place)) from error
