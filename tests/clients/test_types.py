"""The Python client's types are those of the OpenAPI document, so that neither can change alone."""

import json
import types
import typing
from pathlib import Path
from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from foveal_client import cards, explanations, figures
from foveal_client import types as client_types
from foveal_client.asynchronous import AsyncClient
from foveal_client.client import Client

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
PRIMITIVES = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
DECLARED = {
    name: one
    for module in (client_types, cards, figures, explanations)
    for name, one in vars(module).items()
    if is_typeddict(one)
}
OPTIONS = {
    "ClassifyOptions": "/v1/classify",
    "SegmentOptions": "/v1/segment",
    "DetectOptions": "/v1/detect",
    "EmbedOptions": "/v1/embed",
    "ChainOptions": "/v1/chain",
    "ExplainOptions": "/v1/explain",
    "VideoOptions": "/v1/video",
}
SHARED = {"ModelOptions", "HeatExplanation"}
"""What other types have in common; the service names no such schema."""
CLIENTS_OWN = {"format", "view"}  # the call decides, or takes it apart
NO_CORNERS = {"box_format", "normalized"}
"""Options of boxes that are no `CornersBox` in pixels; the client leaves them out."""
MERGED = {
    "StartEvent": ["StartEvent", "ChainStartEvent"],
    "FrameEvent": [name for name in SCHEMAS if name.endswith("FrameEvent")],
    "SummaryEvent": [name for name in SCHEMAS if name.endswith("SummaryEvent")],
    "VideoSummary": [
        "ClassifySummary",
        "SegmentSummary",
        "DetectSummary",
        "EmbedSummary",
        "TemporalSummary",
    ],
}
"""Types that stand for several schemas: what all have is required, all else is not."""


def allowed(declared: Any, schema: dict[str, Any]) -> bool:
    """Return whether a type says what a schema says; `dict[str, Any]` is an object without named fields."""
    if get_origin(declared) is NotRequired:
        (declared,) = get_args(declared)
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        merged = MERGED.get(getattr(declared, "__name__", ""), [])
        return DECLARED.get(name) is declared or name in merged
    if union := schema.get("anyOf", schema.get("oneOf")):
        return any_of(declared, union)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return declared is str or (
            get_origin(declared) is Literal and set(get_args(declared)) == set(values)
        )
    if schema["type"] == "array":
        items = schema["prefixItems"][0] if "prefixItems" in schema else schema["items"]
        return get_origin(declared) is list and allowed(get_args(declared)[0], items)
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        is_open = not isinstance(values, dict) or allowed(get_args(declared)[1], values)
        return get_origin(declared) is dict and is_open
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


@pytest.mark.parametrize("name", sorted(set(DECLARED) - set(MERGED) - set(OPTIONS) - SHARED))
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


def test_an_explanation_is_one_of_those_of_the_service() -> None:
    listed = [one["$ref"].rsplit("/", 1)[1] for one in SCHEMAS["ExplainResponse"]["oneOf"]]
    assert [one.__name__ for one in get_args(explanations.ExplainResponse)] == listed


def test_each_view_has_its_own_result() -> None:
    parameters = DOCUMENT["paths"]["/v1/explain"]["post"]["parameters"]
    (views,) = (one["schema"]["enum"] for one in parameters if one["name"] == "view")
    assert list(get_args(client_types.View)) == views
    for client in (Client, AsyncClient):
        hints = [get_type_hints(one) for one in typing.get_overloads(client.explain)]
        assert [get_args(one["view"])[0] for one in hints[:-1]] == views
        for hint in hints[:-1]:
            (view,) = get_args(hint["view"])
            assert get_args(get_type_hints(hint["return"])["view"]) == (view,)
        assert hints[-1]["return"] == explanations.ExplainResponse


def test_a_type_that_says_something_else_is_found() -> None:
    assert not allowed(str, {"type": "integer"})
    assert not allowed(list[str], {"type": "array", "items": {"type": "number"}})
    assert not allowed(float, {"anyOf": [{"type": "number"}, {"type": "null"}]})
    assert not allowed(client_types.Segment, {"$ref": "#/components/schemas/DetectedObject"})
    assert not allowed(Literal["a"], {"enum": ["a", "b"]})
    numbers = {"type": "object", "additionalProperties": {"type": "number"}}
    assert not allowed(dict[str, str], numbers)
