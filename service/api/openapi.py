"""The OpenAPI document: FastAPI's paths, and one component per type that the routes return."""

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from types import GenericAlias
from typing import Any, NotRequired

from fastapi import FastAPI
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict, get_type_hints

PREFIX = "#/components/schemas/"
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where the service has keys",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in another header",
    },
}
"""Two ways to send a key. A service without keys needs none."""
BINARY = {"type": "string", "format": "binary"}


class Components:
    """The types that the document describes, each once, by name."""

    def __init__(self) -> None:
        self._types: dict[str, Any] = {}

    def ref(self, name: str, described: Any) -> dict[str, Any]:  # noqa: ANN401  # any type that pydantic knows
        """Return a reference to a type's schema."""
        self._types[name] = described
        return {"$ref": PREFIX + name}

    def type_of(self, name: str) -> Any:  # noqa: ANN401  # any type that pydantic knows
        """Return a type by the name that it was given."""
        return self._types[name]

    def schemas(self) -> dict[str, Any]:
        """Return the JSON schemas of all types and of what they are made from, by name."""
        keyed, shared = TypeAdapter.json_schemas(
            [(name, "serialization", TypeAdapter(one)) for name, one in self._types.items()],
            ref_template=PREFIX + "{model}",
        )
        found: dict[str, Any] = dict(shared.get("$defs", {}))
        for (name, _), schema in keyed.items():
            if schema != {"$ref": PREFIX + name}:
                found[name] = schema
        return found


def publish(app: FastAPI, components: Components) -> None:
    """Let the app's document hold the components."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = build()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(components.schemas())
            document["components"]["schemas"] = dict(sorted(schemas.items()))
            _drop_unused(document)
            document["components"]["securitySchemes"] = SECURITY_SCHEMES
            document["security"] = [{}, *({name: []} for name in SECURITY_SCHEMES)]
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _drop_unused(document: dict[str, Any]) -> None:
    """Leave out the schemas that nothing refers to: of a type that is written as another one."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    while unused := schemas.keys() - set(_references(document)):
        for name in unused:
            del schemas[name]


def _references(part: Any) -> Iterator[str]:  # noqa: ANN401  # JSON
    """Yield the names of the schemas that a part of the document refers to."""
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(PREFIX)
    for inner in part.values() if isinstance(part, Mapping) else part:
        if isinstance(inner, Mapping | list):
            yield from _references(inner)


def typed_dict(name: str, fields: Mapping[str, Any]) -> Any:  # noqa: ANN401  # a type
    """Return a TypedDict made at run time; it allows no other keys."""
    make: Any = TypedDict  # type checkers know names and fields that are written out only
    made = make(name, dict(fields))
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    return made


def any_of(*types: Any) -> Any:  # noqa: ANN401  # types
    """Return the union of types."""
    return reduce(or_, types)


def list_of(*types: Any) -> Any:  # noqa: ANN401  # types
    """Return the type of a list of any of the types."""
    return GenericAlias(list, (any_of(*types),))


def fields_of(typed: Any) -> dict[str, Any]:  # noqa: ANN401  # a type
    """Return the fields of a TypedDict, those that may be absent marked so."""
    hints = get_type_hints(typed, include_extras=True)
    optional: frozenset[str] = getattr(typed, "__optional_keys__", frozenset())
    return {
        name: hint
        if name not in optional or str(hint).startswith("typing.NotRequired")
        else NotRequired[hint]
        for name, hint in hints.items()
    }
