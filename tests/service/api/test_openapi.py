from typing import Annotated, NotRequired

import pytest
from fastapi import FastAPI
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from service.api.openapi import Components, any_of, fields_of, list_of, publish, typed_dict


class Point(TypedDict):
    x: Annotated[float, Field(description="Pixels from the left")]
    y: float
    name: NotRequired[str]


class Named(Point, total=False):
    color: str


def test_each_type_is_one_component_and_is_referred_to() -> None:
    components = Components()
    assert components.ref("Line", list_of(Point)) == {"$ref": "#/components/schemas/Line"}
    components.ref("Point", Point)
    schemas = components.schemas()
    assert set(schemas) == {"Line", "Point"}
    assert schemas["Line"]["items"] == {"$ref": "#/components/schemas/Point"}
    assert schemas["Point"]["properties"]["x"]["description"] == "Pixels from the left"
    assert schemas["Point"]["required"] == ["x", "y"]
    assert components.type_of("Point") is Point


def test_a_type_made_at_run_time_allows_no_other_keys() -> None:
    made = TypeAdapter(typed_dict("Colored", {**fields_of(Named), "size": int}))
    assert made.validate_python({"x": 1, "y": 2, "size": 3, "color": "red"})
    for value in ({"x": 1, "y": 2}, {"x": 1, "y": 2, "size": 3, "hue": 1}):
        with pytest.raises(ValidationError):
            made.validate_python(value)


def test_fields_that_may_be_absent_stay_so() -> None:
    made = TypeAdapter(typed_dict("Copy", fields_of(Named)))
    assert made.json_schema()["required"] == ["x", "y"]


def test_a_union_accepts_each_of_its_types() -> None:
    adapter = TypeAdapter(any_of(int, Point, None))
    assert adapter.validate_python(3) == 3
    assert adapter.validate_python({"x": 1, "y": 2}) == {"x": 1, "y": 2}


def test_an_apps_document_holds_the_components_that_something_refers_to() -> None:
    app, components = FastAPI(), Components()
    lines = {"schema": components.ref("Line", list_of(Point))}
    components.ref("Unused", list_of(Named))
    app.get("/lines", responses={200: {"content": {"application/json": lines}}})(lambda: None)
    publish(app, components)
    document = app.openapi()
    assert set(document["components"]["schemas"]) == {"Line", "Point"}
    assert app.openapi() is document
