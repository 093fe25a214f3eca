"""What the endpoints take and give: checks what clients ask, documents what they get."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.api.errors import PROBLEM_TYPE
from service.api.upload import PicturesAsJson
from service.card import Card

BINARY = {"type": "string", "format": "binary"}


class Options(BaseModel):
    """Query parameters that every task takes; a misspelt one is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: Annotated[
        str | None,
        Field(max_length=64, description="Model name; default: the task's default model"),
    ] = None
    version: Annotated[
        int | None, Field(ge=1, description="Model version; default: the newest")
    ] = None


class ClassifyOptions(Options):
    top_k: Annotated[
        int | None,
        Field(ge=1, description="How many classes, best first; default: 5, or all of fewer"),
    ] = None


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable, `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


class ErrorDetail(BaseModel):
    code: str
    detail: str


class PictureFailure(BaseModel):
    """Stands in the place of a picture that failed among several."""

    error: ErrorDetail


class Prediction(BaseModel):
    label: str
    class_id: int
    probability: float = Field(ge=0, le=1)


class Classification(BaseModel):
    predictions: list[Prediction]


class ClassifyAnswer(BaseModel):
    model: str
    version: int
    results: list[Classification | PictureFailure]


class ModelAnswer(BaseModel):
    """A served model: how it is, and its card."""

    name: str
    version: int
    state: str
    reason: str = Field(description="Why it is not ready, else empty")
    device: str
    largest_batch: int | None
    default: bool = Field(description="Whether it answers its task when no model is named")
    card: Card


class ModelsAnswer(BaseModel):
    models: list[ModelAnswer]


def picture_body() -> dict[str, Any]:
    """Return the OpenAPI description of a body that is one picture, a form of files, or JSON with base64."""
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": BINARY}},
        "required": ["file"],
    }
    content = {
        "image/*": {"schema": BINARY},
        "application/octet-stream": {"schema": BINARY},
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": PicturesAsJson.model_json_schema()},
    }
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the errors with these statuses."""
    content = {PROBLEM_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "A problem", "content": content} for status in statuses}
