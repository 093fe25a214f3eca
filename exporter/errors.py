"""What can go wrong on the way to a servable; each message names the option or field and the next step.

ExportError
├── RecipeError        the request contradicts itself or the network
├── SourceError        the trained network can not be loaded
│   └── WeightsError   its weights do not fit, or reading them would run code
├── GraphError         the network can not become the graph that a servable needs
├── ProofError         the graph is not the same network
├── WriteError         the file can not be written
└── ShortageError      memory or disk space ran out
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError


class ExportError(Exception):
    """No servable was written; the message is for the user."""


class RecipeError(ExportError):
    """The recipe or the options contradict themselves or the network."""


class SourceError(ExportError):
    """The source names no network that can be loaded."""


class WeightsError(SourceError):
    """The weights do not belong to the network, or reading them would run code."""


class GraphError(ExportError):
    """The graph can not be brought to the servable's contract."""


class ProofError(ExportError):
    """The outputs of the graph differ from those of the network it was made from."""


class WriteError(ExportError):
    """The file system refused the write; no part of a file was left."""


class ShortageError(ExportError):
    """Memory, disk space or threads ran out; nothing is wrong with the network."""


_SENTENCES = {
    "missing": "this must be given",
    "extra_forbidden": "there is no such field; docs/recipe.md and foveal-export reference have all of them",
    "literal_error": "{input!r} is none of {expected}",
    "greater_than": "{input} is not more than {gt:g}",
    "greater_than_equal": "{input} is less than {ge:g}",
    "less_than": "{input} is not less than {lt:g}",
    "less_than_equal": "{input} is more than {le:g}",
    "int_parsing": "{input!r} is no whole number",
    "int_type": "{input!r} is no whole number",
    "int_from_float": "{input!r} is no whole number",
    "float_parsing": "{input!r} is no number",
    "float_type": "{input!r} is no number",
    "bool_parsing": "{input!r} is neither true nor false",
    "bool_type": "{input!r} is neither true nor false",
    "string_type": "{input!r} is no text; write it in quotes",
    "path_type": "{input!r} is no path; write it in quotes",
    "tuple_type": "{input!r} is no list",
    "dict_type": "{input!r} is no table",
    "model_type": "{input!r} is no table",
    "too_short": "{actual_length} values are given, at least {min_length} are needed",
    "too_long": "{actual_length} values are given, at most {max_length} are allowed",
}
"""What pydantic finds, in words that name the value and mean the same in a recipe file and on the command line."""


def invalid_field(error: ValidationError) -> RecipeError:
    """Return the error of the first wrong field, by its path, for example `input.height`."""
    first = error.errors()[0]
    # A type stands for the member of a union that was tried.
    path = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    message = sentence(first)
    return RecipeError(f"{path}: {message}" if path else message)


def sentence(found: Mapping[str, Any]) -> str:
    """Return what is wrong with a field, as pydantic found it."""
    form = _SENTENCES.get(found["type"])
    if form is None:
        return str(found["msg"]).removeprefix("Value error, ")
    return form.format(input=found["input"], **found.get("ctx", {}))
