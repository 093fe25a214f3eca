"""Plain values as TOML, which Python reads but does not write; see https://toml.io/en/v1.0.0."""

import json
import math
import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(content: Mapping[str, Any]) -> str:
    """Return a TOML document; dictionaries at the top become tables, further inside they stand in one line.

    Raises:
        ValueError: a value has no form in TOML.
    """
    plain = {name: value for name, value in content.items() if not isinstance(value, Mapping)}
    lines = [_pair(name, value) for name, value in plain.items()]
    for name, table in content.items():
        if isinstance(table, Mapping) and table:
            lines += ["", f"[{_key(name)}]", *(_pair(key, value) for key, value in table.items())]
    text = "\n".join(lines) + "\n"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{error.object[error.start : error.end]!r} is no text in UTF-8"
        ) from error
    return text


def _pair(name: str, value: object) -> str:
    return f"{_key(name)} = {_value(value)}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: object) -> str:
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            text = _string(value)
        case int():
            text = str(value)
        case float():
            text = _float(value)
        case date() | time():
            text = value.isoformat()
        case list() | tuple():
            text = f"[{', '.join(_value(part) for part in value)}]"
        case Mapping():
            pairs = ", ".join(_pair(str(name), part) for name, part in value.items())
            text = f"{{ {pairs} }}" if pairs else "{}"
        case _:
            raise ValueError(f"{value!r} has no form in TOML")
    return text


def _string(value: str) -> str:
    """Return a basic string: JSON's escapes are TOML's, except that TOML also escapes DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
