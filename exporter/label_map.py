"""Labels in a label map of TensorFlow's Object Detection API, `item { id: 1 name: 'person' }`."""

import ast
import re
from collections.abc import Iterator

from exporter.errors import RecipeError

_BEGIN = re.compile(r"\bitem\s*:?\s*\{")
_TOKEN = re.compile(
    r"#[^\n]*|(?P<field>\w+)\s*:\s*(?P<value>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[^\s{},;]+)|(?P<brace>[{}])"
)


def is_label_map(text: str) -> bool:
    """Return whether a text begins as a label map does."""
    without_comments = re.sub(r"#[^\n]*", "", text).lstrip()
    return _BEGIN.match(without_comments) is not None


def labels_in_map(text: str, file: str) -> tuple[str, ...]:
    """Return the labels in the order of the ids; an id without an item has an empty one.

    The ids begin at 1, since the format keeps 0 for the background; where an item has 0, they begin there.

    Raises:
        RecipeError: an item has no id or no name, or two have the same id.
    """
    by_id: dict[int, str] = {}
    for fields in _items(text):
        number, label = fields.get("id", ""), fields.get("display_name") or fields.get("name")
        if not (number.isascii() and number.isdecimal()) or not label:
            raise RecipeError(
                f"labels: an item of {file} has no id or no name. Give a text file with one label per line"
            )
        if int(number) in by_id:
            raise RecipeError(f"labels: {file} has the id {number} twice")
        by_id[int(number)] = label
    if not by_id:
        raise RecipeError(f"labels: {file} holds no label")
    first = min(1, *by_id)
    if max(by_id) >= 2 * len(by_id) + 16:
        raise RecipeError(
            f"labels: {file} has {len(by_id)} labels and ids up to {max(by_id)}. Give one label for each output"
        )
    return tuple(by_id.get(number, "") for number in range(first, max(by_id) + 1))


def _items(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each item, without those of what lies inside of it, such as keypoints."""
    depth, fields = 0, dict[str, str]()
    for token in _TOKEN.finditer(text):
        if token["brace"] == "{":
            depth += 1
        elif token["brace"]:
            depth -= 1
            if depth == 0:
                yield fields
                fields = {}
        elif token["field"] and depth == 1:
            fields[token["field"]] = _plain(token["value"])


def _plain(value: str) -> str:
    """Return a value without its quotes; protobuf writes other characters than ASCII as octal bytes."""
    if value[0] not in "\"'":
        return value
    if "\\" in value and value.isascii():
        content: bytes = ast.literal_eval(f"b{value}")
        return content.decode("utf-8", "replace").strip()
    return value[1:-1].strip()
