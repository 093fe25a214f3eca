"""`POST /v2/repository/index`: every version of every model with its state, and what can not be served."""

from pydantic_core import from_json

from service.engine import Engine
from service.errors import InvalidParameterError, MalformedJsonError, for_clients
from service.logs import printable

LARGEST_BODY = 4096
_STATES = {"ready": "READY", "loading": "LOADING", "failed": "UNAVAILABLE"}


def wants_ready_only(body: bytes) -> bool:
    """Return what `ready` of an index request says; its body may be empty.

    Raises:
        MalformedJsonError, InvalidParameterError
    """
    if not body:
        return False
    if len(body) > LARGEST_BODY:
        raise MalformedJsonError(f"The JSON has more than {LARGEST_BODY} bytes")
    try:
        given = from_json(body)
    except ValueError as error:
        raise MalformedJsonError(f"The JSON can not be parsed: {error}") from error
    ready = given.get("ready", False) if isinstance(given, dict) else None
    if not isinstance(ready, bool):
        raise InvalidParameterError('Send {"ready": true} or nothing')
    return ready


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
    found += [
        {
            "name": one.name,
            "version": printable(one.path.parent.name),
            "state": "UNAVAILABLE",
            "reason": for_clients(one.reason, one.path),
        }
        for one in registry.refusals
    ]
    return [one for one in found if not ready_only or one["state"] == "READY"]
