"""The card of a servable: made with an export, or edited later in its words alone."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.errors import RecipeError, invalid_field
from exporter.file_kind import file_kind, not_onnx
from exporter.labels import read_labels
from exporter.loading import load_onnx
from exporter.network import Facts
from exporter.recipe import Recipe
from exporter.writing import write_servable
from service.card import Card, CardError
from service.servable_file import check_certificate, read_card

EDITABLE = ("title", "description", "labels", "license", "source", "background_id", "scores")
"""The fields that may be edited; the graph and its proof determine all others."""


def make_card(recipe: Recipe, facts: Facts, **fields: Any) -> Card:  # noqa: ANN401 - a card's fields are of many types
    """Return the card: name, task and words from the recipe or else the source's facts, and these further fields.

    Raises:
        RecipeError: a field is wrong; the message names it.
    """
    words = {
        "name": recipe.name,
        "task": recipe.task,
        "title": recipe.title or facts.title,
        "description": recipe.description or facts.description,
        "license": recipe.license or facts.license or "not stated",
        "source": recipe.origin or facts.origin,
        "scores": recipe.scores or facts.scores or {},
    }
    try:
        return Card.model_validate({**words, **fields})
    except ValidationError as error:
        raise invalid_field(error) from error


def edit_card(path: Path, changes: list[str]) -> Card:
    """Set fields of a servable's card and write the file again in one rename; the graph stays the same.

    Args:
        path: the servable.
        changes: `FIELD=VALUE` each; FIELD is one of EDITABLE.

    Raises:
        RecipeError: a field can not be edited, or a value does not fit.
        CardError: the file is no servable, or its certificate is not that of its graph.
    """
    try:
        card = read_card(path)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}. Give the model.onnx of a servable") from error
    except CardError as error:
        if file_kind(path).kind in {"onnx", "unknown"}:
            raise
        raise RecipeError(not_onnx(path, str(error))) from error
    check_certificate(path, card)
    content = card.model_dump()
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or field not in EDITABLE:
            fields = ", ".join(EDITABLE)
            raise RecipeError(f"--set {change}: write FIELD=VALUE, FIELD one of {fields}")
        content[field] = _value(field, value)
    if len(content["labels"]) != len(card.labels):
        raise RecipeError(
            f"--set labels: {len(content['labels'])} are given, the network has {len(card.labels)}"
        )
    try:
        edited = Card.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"--set {invalid_field(error)}") from error
    return write_servable(path, load_onnx(path, external_data=False), edited)


def _value(field: str, text: str) -> Any:  # noqa: ANN401 - each field has a type of its own
    if field == "labels" and not text.lstrip().startswith("["):
        file = Path(text)
        return read_labels(file) if file.is_file() else tuple(text.split(","))
    if field in {"labels", "background_id", "scores"}:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise RecipeError(f"--set {field}={text}: this is not JSON") from error
    return text
