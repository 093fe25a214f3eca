"""What Ultralytics states of a network in the metadata of its ONNX file: the task and the labels."""

import ast

import onnx

from exporter.errors import RecipeError
from exporter.recipe import Recipe

_OTHER_TASKS = {"pose", "obb", "segment"}
"""Tasks whose outputs hold more than boxes and scores."""


def refuse_other_tasks(model: onnx.ModelProto, recipe: Recipe) -> None:
    """Refuse a file of another task for detection.

    Raises:
        RecipeError: the file says that its task has more than boxes and scores.
    """
    stated = _stated(model).get("task", "")
    if recipe.task == "detect" and stated in _OTHER_TASKS:
        raise RecipeError(
            f"The file says that its task is {stated!r}; its outputs hold more than the boxes and scores of --task "
            "detect. Export the network of the task 'detect' instead"
        )


def is_ultralytics(model: onnx.ModelProto) -> bool:
    """Return whether Ultralytics wrote the file, and stated its task."""
    stated = _stated(model)
    return stated.get("author") == "Ultralytics" and bool(stated.get("task"))


def named_classes(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """Return the labels that Ultralytics writes into a file's metadata, as `{0: 'person', 1: 'bicycle'}`."""
    written = _stated(model).get("names", "")
    try:
        names = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return None
    if not isinstance(names, dict) or sorted(map(str, names)) != sorted(
        map(str, range(len(names)))
    ):
        return None
    return tuple(str(names[class_id]) for class_id in sorted(names, key=int)) or None


def _stated(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
