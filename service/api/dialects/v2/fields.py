"""The fields of the protocol's JSON objects, read with their types; a wrong one is named."""

from collections.abc import Collection, Mapping
from typing import Any

from service.errors import InvalidParameterError
from service.faults import shown

Object = Mapping[str, Any]


def text_of(given: Object, key: str, where: str) -> str:
    """Return a string that must be there."""
    value = given.get(key)
    if not isinstance(value, str):
        raise InvalidParameterError(f"{where}: {key} must be a string")
    return value


def objects_of(given: Object, key: str, most: int) -> list[Object]:
    """Return a list of objects, empty where the key is absent."""
    value = given.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidParameterError(f"{key} must be a list of objects")
    if len(value) > most:
        raise InvalidParameterError(f"{key} has {len(value)} entries; the model has {most}")
    return value


def parameters_of(given: Object, known: Collection[str], where: str) -> Object:
    """Return the parameters of an object.

    Raises:
        InvalidParameterError: one of them is unknown.
    """
    value = given.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidParameterError(f"{where}: parameters must be an object")
    for name in value:
        if name not in known:
            raise InvalidParameterError(
                f"{where}: there is no parameter {shown(name)}. Parameters: {', '.join(sorted(known))}."
            )
    return value


def whole_number(given: Object, key: str, where: str) -> int | None:
    """Return a whole number of 0 or more, None where the key is absent."""
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidParameterError(f"{where}: {key} must be a whole number of 0 or more")
    return value


def flag(given: Object, key: str, where: str) -> bool | None:
    """Return true or false, None where the key is absent."""
    value = given.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidParameterError(f"{where}: {key} must be true or false")
    return value
