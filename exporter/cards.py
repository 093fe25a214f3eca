"""A servable's words, mended without touching its graph or its proof."""

import json
from pathlib import Path
from typing import Any

import onnx
from pydantic import ValidationError

from exporter.errors import RecipeError
from exporter.recipe import read_labels
from exporter.writing import write_servable
from service.card import Card, check_certificate, read_card

WORDS = ("title", "description", "labels", "license", "source", "background_id", "scores")
"""What may be mended; all else follows from the graph and from its proof."""


def mend_card(path: Path, changes: list[str]) -> Card:
    """Set fields of a card, `FIELD=VALUE` each, and write the file anew in one rename.

    Raises:
        RecipeError: a field that may not be changed, a value that does not fit.
        CardError: the file is no servable, or its certificate does not hold.
    """
    card = read_card(path)
    check_certificate(path, card)
    content = card.model_dump()
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or field not in WORDS:
            raise RecipeError(f"--set {change}: write FIELD=VALUE, FIELD one of {', '.join(WORDS)}")
        content[field] = _value(field, value)
    if len(content["labels"]) != len(card.labels):
        raise RecipeError(
            f"--set labels: {len(content['labels'])} are given, the network has {len(card.labels)}"
        )
    try:
        mended = Card.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"--set {first['loc'][0]}: {first['msg']}") from error
    write_servable(path, onnx.load(path), mended)
    return mended


def _value(field: str, text: str) -> Any:  # noqa: ANN401 - each field has a type of its own
    if field == "labels":
        file = Path(text)
        return read_labels(file) if file.is_file() else tuple(text.split(","))
    if field in {"background_id", "scores"}:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise RecipeError(f"--set {field}={text}: this is not JSON") from error
    return text
