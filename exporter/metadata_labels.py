"""Labels in the metadata of an ONNX file, whose values are texts."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

from exporter.label_tables import HOLDERS, holder_of, labels_in

_OTHER_KEYS = ("character", "class_labels", "category_names", "label_list", "class_list")
"""RapidAI's networks have `character`, with a label a line."""

_JOINED = "model_info labels"
"""OpenVINO's Model API writes labels here with blanks between, and an underscore for a blank in a label."""


def labels_in_metadata(written: Mapping[str, str], file: str) -> tuple[str, ...] | None:
    """Return the labels, None where no entry has any.

    They are under a key that is known, or in an object under any key, as the `id2label` of a whole config.

    Args:
        written: the entries.
        file: its name, for messages.

    Raises:
        RecipeError: a known key holds labels, and their order is not clear.
    """
    known = {re.sub(r"[-\s]", "_", key.lower()): value for key, value in written.items()}
    for key in dict.fromkeys(key.lower() for key in (*HOLDERS, *_OTHER_KEYS)):
        labels = _labels(key, known.get(key, ""), file)
        if labels:
            return labels
    if written.get(_JOINED, "").strip():
        return tuple(one.replace("_", " ") for one in written[_JOINED].split())
    for value in written.values():
        content = _content(value)
        if isinstance(content, Mapping) and holder_of(content) is not None:
            return labels_in(content, file)
    return None


def _labels(key: str, value: str, file: str) -> tuple[str, ...]:
    """Return the labels that the text under a key holds; a number is that of the classes."""
    content = _content(value)
    if isinstance(content, Mapping):
        # Whether keys or values are the class ids is known from the key.
        return labels_in({key: content} if key in HOLDERS and content else content, file)
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        return labels_in(content, file)
    if content is not None and not isinstance(content, str):
        return ()
    text = content if isinstance(content, str) else value
    parts = text.strip().splitlines() if "\n" in text.strip() else text.split(",")
    labels = tuple(part.strip() for part in parts)
    return labels if any(labels) else ()


def _content(value: str) -> object:
    """Return what a text holds as JSON or as Python writes it, None where it is neither."""
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return read(value)
    return None
