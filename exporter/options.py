"""The command-line options of `foveal-export export`, made from the fields of the recipe.

A field of a table, such as `input.height`, becomes an option with the field's own name, `--height`, unless it has an
`OptionName`. Type, range, default and help text are those that the recipe's model declares. Values are checked by the
model alone.
"""

import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from exporter.errors import RecipeError, invalid_field, sentence
from exporter.recipe import Recipe
from exporter.recipe_tables import OptionName

RECIPE_GROUP = "Recipe"
_CAPITALS = {"True": "true", "False": "false"}
NAMED_VALUE = "NAME=VALUE"


@dataclass(frozen=True, slots=True)
class RecipeOption:
    """One option, and the path of each field that it can set; several fields share an option only across tables."""

    name: str
    paths: tuple[tuple[str, ...], ...]
    group: str
    field: FieldInfo

    @property
    def parameter(self) -> str:
        """The name of the command's parameter."""
        return self.name.replace("-", "_")

    @property
    def is_repeated(self) -> bool:
        """Whether the option may be given several times: typer then reads a list, empty where it was not given."""
        kind = _without_none(self.field.annotation)
        return get_origin(kind) is dict or _is_list(kind)


def recipe_options(model: type[BaseModel] = Recipe) -> tuple[RecipeOption, ...]:
    """Return an option for each field of a recipe, tables included; `source` is an argument and has none."""
    options: dict[str, RecipeOption] = {}
    for path, group, field in recipe_fields(model):
        name = _option_name(path[-1], field)
        if name is None or path == ("source",):
            continue
        if name in options:
            known = options[name]
            shared = f"{known.group} and {group[:1].lower()}{group[1:]}"
            options[name] = RecipeOption(name, (*known.paths, path), shared, known.field)
        else:
            options[name] = RecipeOption(name, (path,), group, field)
    return tuple(options.values())


def shown_name(name: str) -> str:
    """Return the name that the help shows for an option, from this name or another one of it, without dashes."""
    for _, _, field in recipe_fields(Recipe):
        for hint in field.metadata:
            if isinstance(hint, OptionName) and hint.name is not None and name in hint.others:
                return hint.name
    return name


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with a parameter for each option in place of its `**` parameter, for typer to read."""
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    parameters = [*own, *(_parameter(option) for option in recipe_options())]
    vars(command)["__signature__"] = signature.replace(parameters=parameters)
    return command


def recipe_content(source: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a recipe, as a TOML file would hold it, from the values of the options.

    Args:
        source: the recipe's source.
        values: by the parameter's name; None where the option was not given.

    Raises:
        RecipeError: a value has the wrong form, or its option does not belong to the task.
    """
    content: dict[str, Any] = {"source": source}
    for option in recipe_options():
        value = values[option.parameter]
        if value is None or (option.is_repeated and not value):
            continue
        *tables, name = _path_for_task(option, values["task"])
        table = content
        for inner in tables:
            table = table.setdefault(inner, {})
        table[name] = _parsed(option, value)
    return _without_nothing(content)


def _without_nothing(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with the arguments that are None in a list of their names, since TOML has no None."""
    arguments = content.get("arguments", {})
    nothing = [name for name, value in arguments.items() if value is None]
    if not nothing:
        return content
    given = {name: value for name, value in arguments.items() if value is not None}
    return {**content, "arguments": given, "none_arguments": nothing}


def given_options(values: dict[str, Any]) -> list[str]:
    """Return the names of the options that were given, from the values of all."""
    return [
        option.name
        for option in recipe_options()
        if not (
            values[option.parameter] is None
            or (option.is_repeated and not values[option.parameter])
        )
    ]


def option_error(error: ValidationError) -> RecipeError:
    """Return the error of the first wrong field by the name of its option, for example `--height`."""
    first = error.errors()[0]
    place = tuple(str(part) for part in first["loc"])
    names = [
        one.name for one in recipe_options() for path in one.paths if place[: len(path)] == path
    ]
    if not names:
        return invalid_field(error)
    return RecipeError(f"--{names[0]}: {sentence(first)}")


def refuse_mistyped_numbers(words: Sequence[str]) -> None:
    """Refuse numbers that are written as no option reads them, which would be taken for further arguments.

    Raises:
        RecipeError: an option has several numbers with spaces between them, or a side is given as HEIGHTxWIDTH.
    """
    for place, option in enumerate(words):
        if not option.startswith("--"):
            continue
        numbers = list(takewhile(_is_number, words[place + 1 :]))
        if len(numbers) > 1:
            joined = ",".join(one.rstrip(",") for one in numbers)
            raise RecipeError(
                f"{option}: {' '.join(numbers)} are several words. Write {option} {joined}"
            )
        sides = re.fullmatch(r"(\d+)[x×](\d+)", "".join(words[place + 1 : place + 2]))
        if sides is not None and option in {"--height", "--width"}:
            raise RecipeError(
                f"{option}: {sides[0]} is no number of pixels. Write --height {sides[1]} --width {sides[2]}"
            )


def _is_number(word: str) -> bool:
    try:
        float(word.rstrip(","))
    except ValueError:
        return False
    return True


class GroupedCommand(TyperCommand):
    """A command whose help lists the options by group, in typer's plain form."""

    # Any: the classes of typer's context and formatter differ between its versions.
    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                group = getattr(parameter, "rich_help_panel", None)
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(group or default, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


def recipe_fields(model: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], str, FieldInfo]]:
    """Yield the path, the group and the field of everything that a recipe file may state."""
    for name, field in model.model_fields.items():
        table = _without_none(field.annotation)
        if field.exclude:
            continue
        if inspect.isclass(table) and issubclass(table, BaseModel):
            for path, _, inner in recipe_fields(table):
                yield (name, *path), field.description or name, inner
        else:
            yield (name,), RECIPE_GROUP, field


def _option_name(field_name: str, field: FieldInfo) -> str | None:
    for hint in field.metadata:
        if isinstance(hint, OptionName):
            return hint.name
    return field_name.replace("_", "-")


def _parameter(option: RecipeOption) -> inspect.Parameter:
    annotation = Annotated[  # type: ignore[valid-type] # the type is known at run time only
        _command_line_type(option) | None,
        typer.Option(
            _declared(option),
            help=_help(option),
            metavar=_metavar(option.field),
            rich_help_panel=option.group,
        ),
    ]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(option.parameter, kind, default=None, annotation=annotation)


def _declared(option: RecipeOption) -> str:
    """Return the option as typer declares it, with its opposite if it has one."""
    has_opposite = any(
        isinstance(hint, OptionName) and hint.has_opposite for hint in option.field.metadata
    )
    return f"--{option.name}" + f"/--no-{option.name}" * has_opposite


def _help(option: RecipeOption) -> str:
    """Return the field's description, with its range and, where there is one, its default."""
    parts = [str(option.field.description), *_range(option.field)]
    default = option.field.default
    values = default if isinstance(default, tuple) else (default,)
    plain = all(type(one) in {str, int, float} for one in values)
    if len(option.paths) == 1 and values and plain:
        written = (f"{one:.4g}" if isinstance(one, float) else str(one) for one in values)
        parts.append(f"[default: {','.join(written)}]")
    return " ".join(parts)


def _range(field: FieldInfo) -> Iterable[str]:
    bounds = [
        f"{sign} {getattr(bound, name)}"
        for bound in field.metadata
        for name, sign in {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}.items()
        if hasattr(bound, name)
    ]
    return [f"[{' and '.join(bounds)}]"] if bounds else []


def _command_line_type(option: RecipeOption) -> Any:  # noqa: ANN401 - a type
    """Return the type as which typer reads the option."""
    kind = _without_none(option.field.annotation)
    if kind in {int, bool, Path}:  # a float may be written as a fraction, which typer does not read
        return kind
    return list[str] if option.is_repeated else str


def _metavar(field: FieldInfo) -> str | None:
    kind = _without_none(field.annotation)
    if kind is float:
        return "NUMBER"
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if get_origin(kind) is dict:
        return NAMED_VALUE
    if _is_list(kind):
        element = get_args(kind)[0]
        return ("|".join(get_args(element)) or "NAME") + ",…"
    return ",".join("N" * len(get_args(kind))) if get_origin(kind) is tuple else None


def _is_list(kind: object) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis


def _without_none(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Return the type of a field that may be None; of several types left, str, as which all can be written."""
    if get_origin(annotation) not in {Union, UnionType}:
        return annotation
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 else str


def _path_for_task(option: RecipeOption, task: str | None) -> tuple[str, ...]:
    if len(option.paths) == 1:
        return option.paths[0]
    by_task = {path[0]: path for path in option.paths}
    if task not in by_task:
        raise RecipeError(f"--{option.name} is for task {' and '.join(by_task)}, not for {task}")
    return by_task[task]


def _parsed(option: RecipeOption, value: Any) -> Any:  # noqa: ANN401 - a recipe's fields are of many types
    """Return an option's value as a TOML file would hold it."""
    kind = _without_none(option.field.annotation)
    if isinstance(value, Path):
        return str(value.resolve())
    if get_origin(kind) is dict:
        named = [_named_value(option, text) for text in value]
        names = [name for name, _ in named]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise RecipeError(f"--{option.name} {twice}=… is given twice: give it once")
        return dict(named)
    if _is_list(kind):
        return [part.strip() for text in value for part in text.split(",")]
    if get_origin(kind) is tuple:
        return _numbers(option, value, get_args(kind))
    if kind is float and isinstance(value, str):
        return _number(option, value)
    return value


def _named_value(option: RecipeOption, text: str) -> tuple[str, Any]:
    written, equals, value = text.partition("=")
    name = written.strip()
    if not equals or not name:
        raise RecipeError(f"--{option.name} {text}: write {NAMED_VALUE}")
    # `NAME = VALUE` is written as in TOML, where the blanks mean nothing.
    is_spaced = written != written.rstrip()
    return name, _toml_value(f"--{option.name} {text}", value.strip() if is_spaced else value)


def _toml_value(words: str, text: str) -> Any:  # noqa: ANN401 - a TOML value
    """Return a value as TOML types it: 3, 0.5, true, "text", [1, 2]; what is none of these is a text, with its blanks.

    Python's True, False and None are taken for what they mean.

    Raises:
        RecipeError: it is JSON's word for nothing.
    """
    plain = text.strip()
    if plain == "None":
        return None
    if plain == "null":
        raise RecipeError(f"{words}: Python's word for nothing is None: write NAME=None")
    try:
        parsed = tomllib.loads(f"value = {_CAPITALS.get(plain, plain)}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def _numbers(option: RecipeOption, text: str, kinds: tuple[type, ...]) -> list[Any]:
    """Return the numbers of a fixed-size field, written with commas; one number stands for all of them."""
    parts = text.split(",")
    if len(parts) == 1:
        parts *= len(kinds)
    try:
        if len(parts) != len(kinds):
            raise ValueError(text)
        return [_fraction(part) if kinds[0] is float else kinds[0](part) for part in parts]
    except ValueError as error:
        raise RecipeError(
            f"--{option.name} {text}: write {len(kinds)} numbers with commas between"
        ) from error


def _number(option: RecipeOption, text: str) -> float:
    try:
        return _fraction(text)
    except ValueError as error:
        raise RecipeError(
            f"--{option.name} {text}: write a number, as 0.5, or a fraction, as 1/255"
        ) from error


def _fraction(text: str) -> float:
    """Return a number that is written as 0.5 or as 1/2.

    Raises:
        ValueError: it is none.
    """
    above, slash, below = text.partition("/")
    if not slash:
        return float(above)
    if float(below) == 0:
        raise ValueError(text)
    return float(above) / float(below)
