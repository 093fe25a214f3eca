"""A version as a client writes it: only as the service itself writes it, so that one version has one address."""

import re

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_WRITTEN = re.compile(r"-?(0|[1-9][0-9]*)")
_DIGIT = re.compile(r"\d")


def _as_written(value: object) -> object:
    """Refuse texts that only a parser takes for a whole number: `01`, `+1`, `1.0`, `1_0`."""
    if isinstance(value, str) and _DIGIT.search(value) and not _WRITTEN.fullmatch(value):
        raise PydanticCustomError(
            "version_form", "A version is a whole number that does not begin with 0, such as 2"
        )
    return value


AS_WRITTEN = BeforeValidator(_as_written)
"""For the annotation of a parameter that is a version."""
