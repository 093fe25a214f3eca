"""What an export takes for granted: options that nobody gave, and where their values come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Granted:
    """One option, by its parameter's name, the value that it gets, and why."""

    parameter: str
    value: Any
    why: str

    @property
    def option(self) -> str:
        return "--" + self.parameter.replace("_", "-")

    @property
    def shown(self) -> str:
        """The value as it is written on the command line."""
        if isinstance(self.value, list):
            return " ".join(str(one) for one in self.value)
        return str(self.value)


def is_given(values: Mapping[str, Any], parameter: str) -> bool:
    """Return whether an option was given: typer leaves None, or an empty list, where it was not."""
    return values.get(parameter) not in (None, [], ())
