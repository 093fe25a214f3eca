"""`POST /v2/repository/index`: every version of every model with its state, and what can not be served."""

from typing import Any

from pydantic_core import from_json

from service.api.ingest.json_keys import require_unique_keys
from service.engine import Engine
from service.errors import InvalidParameterError, MalformedJsonError

LARGEST_BODY = 64 * 1024
_STATES = {
    "ready": "READY",
    "loading": "LOADING",
    "asleep": "READY",  # it answers: the request loads it
    "failed": "UNAVAILABLE",
}


def wants_ready_only(body: bytes) -> bool:
    """Return what `ready` of an index request says; its body may be empty.

    Raises:
        MalformedJsonError, InvalidParameterError
    """
    if not body:
        return False
    given = _json(body)
    ready = given.get("ready", False) if isinstance(given, dict) else None
    if not isinstance(ready, bool):
        raise InvalidParameterError('Send {"ready": true} or nothing')
    return ready


def wants_dependents(body: bytes) -> bool:
    """Return what `unload_dependents` of an unload request says; its body may be empty.

    Raises:
        MalformedJsonError, InvalidParameterError
    """
    given = _parameters(body).get("unload_dependents", False)
    if not isinstance(given, bool):
        raise InvalidParameterError("unload_dependents must be true or false")
    return given


def require_plain_load(body: bytes) -> None:
    """Refuse a load request with a config or a file of its own.

    Raises:
        MalformedJsonError, InvalidParameterError
    """
    for name in _parameters(body):
        if name == "config" or name.startswith("file:"):
            raise InvalidParameterError(
                f"{name[:64]} is not supported. Which versions are served is said in foveal.toml; a file is sent with "
                "PUT /v1/models/{name}/versions/{version}."
            )


def _parameters(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    given = _json(body)
    parameters = given.get("parameters", {}) if isinstance(given, dict) else None
    if not isinstance(parameters, dict):
        raise InvalidParameterError('Send {"parameters": {…}} or nothing')
    return parameters


def _json(body: bytes) -> Any:  # noqa: ANN401  # of a client
    if len(body) > LARGEST_BODY:
        raise MalformedJsonError(
            f"The JSON has more than {LARGEST_BODY} bytes. A model's file is sent with "
            "PUT /v1/models/{name}/versions/{version}."
        )
    try:
        given = from_json(body)
    except ValueError as error:
        raise MalformedJsonError(f"The JSON can not be parsed: {error}") from error
    require_unique_keys(body, given)
    return given


def index(engine: Engine, *, ready_only: bool) -> list[dict[str, str]]:
    """Return an entry for each version."""
    registry = engine.registry
    found = [
        {
            "name": one.name,
            "version": str(one.version),
            "state": _STATES[one.state],
            "reason": one.reason,
        }
        for one in registry.models
    ]
    found += [{**one._asdict(), "state": "UNAVAILABLE"} for one in registry.not_served]
    return [one for one in found if not ready_only or one["state"] == "READY"]
