"""Labels in structured content: a list, class id → label, label → class id, or an object that holds one of these.

Content comes from JSON, YAML, a checkpoint or the metadata of an ONNX file.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.errors import RecipeError

HOLDERS = (
    "names",
    "id2label",
    "idx_to_class",
    "class_to_idx",
    "label2id",
    "classes",
    "CLASSES",
    "class_names",
    "labels",
    "categories",
    "label_names",
)
"""The keys under which tools keep labels: Ultralytics, Transformers, torchvision's ImageFolder, COCO, timm,
MMDetection."""

_BY_LABEL = ("class_to_idx", "label2id")
"""The holders whose keys are labels, also where these are numbers, as in folders `1`, `10`, `2` of an ImageFolder."""

_BY_ID = ("names", "id2label", "idx_to_class", "class_names")
"""The holders whose keys are class ids where both sides are numbers."""

_WORDNET = re.compile(r"n\d{8}")
_NAMES = ("name", "label", "title")
_IDS = ("id", "index", "class_id")


def labels_in(content: object, file: str) -> tuple[str, ...]:
    """Return the labels in the order of the class ids.

    Args:
        content: what the file holds.
        file: its name, for messages.

    Raises:
        RecipeError: there are no labels, or their order is not clear.
    """
    if isinstance(content, Mapping):
        return _in_object(content, file)
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        return _in_list(content, file)
    raise RecipeError(
        f"labels: {file} holds neither a list of labels nor an object of class id → label"
    )


def holder_of(content: Mapping[Any, Any]) -> str | None:
    """Return the first key of an object that is known to hold labels and does."""
    held = (key for key in HOLDERS if isinstance(content.get(key), (Mapping, list, tuple)))
    return next((key for key in held if content[key]), None)


def _in_object(content: Mapping[Any, Any], file: str) -> tuple[str, ...]:
    holder = holder_of(content)
    if holder is not None:
        labels = _held(content[holder], holder, file)
        stated = str(content.get("nc", len(labels)))
        if stated != str(len(labels)):
            raise RecipeError(
                f"labels: {file} states nc {stated} and {len(labels)} {holder}. Correct one of them"
            )
        return labels
    if _is_by_label(content, next((name for name in _BY_LABEL if name in file), ""), file):
        return _inverted(content, file)
    if content and all(_is_id(key) for key in content):
        return _by_id({int(key): _label(value, file) for key, value in content.items()}, file)
    raise RecipeError(
        f"labels: {file} holds neither a list of labels nor an object of class id → label"
    )


def _held(content: object, holder: str, file: str) -> tuple[str, ...]:
    """Return the labels that are kept under a key."""
    if isinstance(content, Mapping) and _is_by_label(content, holder, file):
        return _inverted(content, file)
    return labels_in(content, file)


def _is_by_label(content: Mapping[Any, Any], holder: str, file: str) -> bool:
    """Return whether the keys are labels and the values class ids.

    Labels may be numbers too. Then the side that counts 0, 1, 2, … is the class ids; where both do, tools write a class
    id in JSON's keys as text and in values as a number.

    Raises:
        RecipeError: they are numbers, and it is not clear which are the class ids.
    """
    keys, values = list(content), list(content.values())
    if not content or not all(_is_id(value) for value in values):
        return False
    if holder in _BY_LABEL or not all(_is_id(key) for key in keys):
        return True
    sides = [sorted(int(one) for one in side) == list(range(len(side))) for side in (keys, values)]
    if holder in _BY_ID or not sides[1]:
        return False
    texts = [all(isinstance(one, str) for one in side) for side in (keys, values)]
    if not sides[0] or (texts[0] and not texts[1]):
        return True
    if texts[1] or all(int(key) == int(value) for key, value in content.items()):
        return False
    raise RecipeError(
        f"labels: {file} holds numbers for numbers, and which are the class ids is not clear. Give a list of labels in "
        "the order of the outputs"
    )


def _inverted(content: Mapping[Any, Any], file: str) -> tuple[str, ...]:
    by_id: dict[int, str] = {}
    for label, class_id in content.items():
        if int(class_id) in by_id:
            raise RecipeError(
                f"labels: {file} gives the class id {class_id} to {by_id[int(class_id)]!r} and to {str(label)!r}"
            )
        by_id[int(class_id)] = str(label).strip()
    return _by_id(by_id, file)


def _in_list(content: Sequence[Any], file: str) -> tuple[str, ...]:
    if content and all(isinstance(one, Mapping) for one in content):
        return _in_records(content, file)
    return tuple(_label(one, file) for one in content)


def _in_records(content: Sequence[Mapping[str, Any]], file: str) -> tuple[str, ...]:
    """Return the labels of records such as COCO's categories, `{"id": 0, "name": "cat"}`."""
    name = next((key for key in _NAMES if all(key in one for one in content)), None)
    if name is None:
        raise RecipeError(
            f"labels: {file} holds a list of objects without a name. Give a list of labels"
        )
    identifier = next((key for key in _IDS if all(_is_id(one.get(key)) for one in content)), None)
    if identifier is None:
        return tuple(_label(one[name], file) for one in content)
    by_id: dict[int, str] = {}
    for one in content:
        class_id = int(one[identifier])
        if class_id in by_id:
            raise RecipeError(f"labels: {file} has the {identifier} {class_id} twice")
        by_id[class_id] = _label(one[name], file)
    if sorted(by_id) != list(range(len(by_id))):
        raise RecipeError(
            f"labels: the ids in {file} are {min(by_id)} to {max(by_id)} for {len(by_id)} labels, and it is not known "
            "which output of the network each one has. Give a list of labels in the order of the outputs"
        )
    return _by_id(by_id, file)


def _by_id(by_id: Mapping[int, str], file: str) -> tuple[str, ...]:
    """Return the labels in order; an id without a label gets an empty one, as long as most have one."""
    if min(by_id) == 1 and sorted(by_id) == list(range(1, len(by_id) + 1)):
        raise RecipeError(
            f"labels: the ids in {file} begin at 1, the network's outputs at 0. Give a list of labels in the order of "
            "the outputs"
        )
    if max(by_id) >= 2 * len(by_id) + 16:
        raise RecipeError(
            f"labels: {file} has {len(by_id)} labels and ids up to {max(by_id)}. Give one label for each output"
        )
    return tuple(by_id.get(class_id, "") for class_id in range(max(by_id) + 1))


def _label(value: object, file: str) -> str:
    """Return the label that a value holds: text, its first synonym, or Keras's pair of WordNet id and label."""
    if isinstance(value, (list, tuple)):
        words = [str(one) for one in value]
        if len(words) == 2 and _WORDNET.fullmatch(words[0]):
            return words[1].strip()
        if len(words) == 1:
            return words[0].strip()
    elif isinstance(value, str):
        return value.strip()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise RecipeError(f"labels: {file} holds {str(value)[:60]!r} where a label must be")


def _is_id(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return (isinstance(value, int) and value >= 0) or (
        isinstance(value, str) and value.isascii() and value.isdecimal()
    )
