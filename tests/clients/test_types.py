"""The Python client's types are those of the OpenAPI document, so that neither can change alone."""

import json
import types
import typing
from pathlib import Path
from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from foveal_client import types as client_types

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
PRIMITIVES = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
DECLARED = {name: one for name, one in vars(client_types).items() if is_typeddict(one)}
OPTIONS = {
    "ClassifyOptions": "/v1/classify",
    "SegmentOptions": "/v1/segment",
    "DetectOptions": "/v1/detect",
    "EmbedOptions": "/v1/embed",
    "ExplainOptions": "/v1/explain",
    "VideoOptions": "/v1/video",
}
CLIENTS_OWN = {"format"}  # the call decides
NO_CORNERS = {"box_format", "normalized"}
"""Options of boxes that are no `CornersBox` in pixels; the client leaves them out."""
MERGED = {
    "StartEvent": ["StartEvent", "ChainStartEvent"],
    "FrameEvent": [name for name in SCHEMAS if name.endswith("FrameEvent")],
    "SummaryEvent": [name for name in SCHEMAS if name.endswith("SummaryEvent")],
}
"""Types that stand for several schemas: what all have is required, all else is not."""


def allowed(declared: Any, schema: dict[str, Any]) -> bool:
    """Return whether a type says what a schema says; `dict[str, Any]` stands for any object."""
    if get_origin(declared) is NotRequired:
        (declared,) = get_args(declared)
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        target = SCHEMAS[name]
        is_object = target.get("type") == "object"
        return DECLARED.get(name) is declared or (is_object and declared == dict[str, Any])
    if "anyOf" in schema:
        return any_of(declared, schema["anyOf"])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return declared is str or (
            get_origin(declared) is Literal and set(get_args(declared)) == set(values)
        )
    if schema["type"] == "array":
        return get_origin(declared) is list and allowed(get_args(declared)[0], schema["items"])
    if schema["type"] == "object":
        return get_origin(declared) is dict
    return declared is PRIMITIVES[schema["type"]]


def any_of(declared: Any, schemas: list[dict[str, Any]]) -> bool:
    """Return whether each part of a union has its schema; of boxes the client has one form only."""
    if declared is client_types.CornersBox:
        return any(allowed(declared, one) for one in schemas)
    is_union = get_origin(declared) in {typing.Union, types.UnionType}
    parts = get_args(declared) if is_union else (declared,)
    return len(parts) == len(schemas) and all(
        any(allowed(part, one) for one in schemas) for part in parts
    )


@pytest.mark.parametrize(
    "name", sorted(set(DECLARED) - set(MERGED) - set(OPTIONS) - {"ModelOptions"})
)
def test_each_type_is_the_schema_of_its_name(name: str) -> None:
    schema = SCHEMAS[name]
    hints = get_type_hints(DECLARED[name])
    assert set(hints) == set(schema["properties"])
    assert DECLARED[name].__required_keys__ == set(schema["required"])
    for key, declared in hints.items():
        assert allowed(declared, schema["properties"][key]), key


@pytest.mark.parametrize("name", MERGED)
def test_an_event_is_what_all_its_schemas_say(name: str) -> None:
    schemas = [SCHEMAS[one] for one in MERGED[name]]
    hints = get_type_hints(DECLARED[name])
    assert set(hints) == {key for schema in schemas for key in schema["properties"]}
    assert DECLARED[name].__required_keys__ == set.intersection(
        *(set(schema["required"]) for schema in schemas)
    )
    for schema in schemas:
        for key, found in schema["properties"].items():
            # A chain's frames have boxes of their own form, and start events name the task as a constant.
            assert allowed(hints[key], found), (schema["title"], key)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_the_parameters_of_their_route(name: str) -> None:
    hints = get_type_hints(DECLARED[name])
    listed = DOCUMENT["paths"][OPTIONS[name]]["post"]["parameters"]
    schemas = {one["name"]: one["schema"] for one in listed if one["in"] == "query"}
    assert {key.rstrip("_") for key in hints} == set(schemas) - CLIENTS_OWN - NO_CORNERS
    for key, declared in hints.items():
        schema = schemas[key.rstrip("_")]
        parts = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
        assert any(allowed(declared, one) for one in parts), key


def test_a_type_that_says_something_else_is_found() -> None:
    assert not allowed(str, {"type": "integer"})
    assert not allowed(list[str], {"type": "array", "items": {"type": "number"}})
    assert not allowed(float, {"anyOf": [{"type": "number"}, {"type": "null"}]})
    assert not allowed(client_types.Segment, {"$ref": "#/components/schemas/DetectedObject"})
    assert not allowed(Literal["a"], {"enum": ["a", "b"]})
