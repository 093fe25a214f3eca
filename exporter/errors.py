"""What can go wrong on the way to a servable; each message names the option or field and the next step.

ExportError
├── RecipeError        the request contradicts itself or the network
├── SourceError        the trained network can not be loaded
│   └── WeightsError   its weights do not fit, or reading them would run code
├── GraphError         the network can not become the graph that a servable needs
├── ProofError         the graph is not the same network
└── WriteError         the file can not be written
"""

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


def invalid_field(error: ValidationError) -> RecipeError:
    """Return the error of the first wrong field, by its path, for example `input.height`."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return RecipeError(f"{path}: {message}" if path else message)
