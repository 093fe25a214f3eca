"""The head for a raw graph, selected by the task and by the shapes of the raw outputs."""

from collections.abc import Callable, Sequence

from exporter.errors import RecipeError
from exporter.heads.boxes import DECODERS
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.network import Head
from exporter.recipe import Recipe, Task

Dims = tuple[int, ...]
"""An output's dimensions for a batch of one."""


def select_head(recipe: Recipe, outputs: Sequence[Dims]) -> Head:
    """Return the head for the recipe's task.

    Raises:
        RecipeError: the outputs do not have the shapes that the task needs.
    """
    if recipe.task == "temporal":
        raise RecipeError(
            "A temporal head is trained on the features of its backbone: its source is train:…"
        )
    return _SELECTORS[recipe.task](recipe, outputs)


def _classify(recipe: Recipe, outputs: Sequence[Dims]) -> Head:
    dims = outputs[0]
    is_vector = dims == (1,) or len(dims) == 2 or (len(dims) > 2 and set(dims[2:]) == {1})
    if not is_vector:
        raise _mismatch("classify", "one score per class, (N, K)", outputs)
    classes = dims[1] if len(dims) > 1 else 1
    both_sides = classes == 1 and len(recipe.label_list() or ()) == 2
    stated = recipe.classify.activation
    multi_label = (recipe.multi_label or stated == "sigmoid") and not both_sides
    if both_sides:
        classes = 2
    return ClassifyHead(classes, multi_label, both_sides=both_sides, stated=stated, axes=len(dims))


def _segment(recipe: Recipe, outputs: Sequence[Dims]) -> Head:
    dims = outputs[0]
    if len(dims) != 4:
        raise _mismatch("segment", "one map per class, (N, C, h, w)", outputs)
    stated = recipe.segment.activation
    activation = stated or ("sigmoid" if dims[1] == 1 else "softmax")
    return SegmentHead(dims[1], (dims[2], dims[3]), activation, stated)


def _detect(recipe: Recipe, outputs: Sequence[Dims]) -> Head:
    stated = recipe.detect
    dims = outputs[0]
    pixel_yolo = stated.model_copy(update={"box_unit": "pixel"})
    match stated.decoder, len(dims):
        case "pair", 3 | 4 if len(outputs) >= 2 and dims[-1] == 4 and len(outputs[1]) == 3:
            anchors, columns, decoded = outputs[1][1], outputs[1][2], stated
        case "yolov5", 3:
            anchors, columns = dims[1], dims[2] - 5
            decoded = pixel_yolo.model_copy(
                update={"box_format": "cxcywh", "one_class_a_box": True}
            )
        case "yolov8", 3:
            anchors, columns = dims[2], dims[1] - 4
            decoded = pixel_yolo.model_copy(
                update={"box_format": "cxcywh", "one_class_a_box": True}
            )
        case "end2end", 3 if dims[2] == 6:
            anchors, columns = dims[1], 0
            decoded = pixel_yolo.model_copy(update={"box_format": "xyxy"})
        case _:
            raise _mismatch(
                f"detect --decoder {stated.decoder}", _DETECT_SHAPES[stated.decoder], outputs
            )
    return DetectHead(DECODERS[stated.decoder], decoded, anchors, columns)


def _embed(_recipe: Recipe, _outputs: Sequence[Dims]) -> Head:
    return EmbedHead()


_SELECTORS: dict[Task, Callable[[Recipe, Sequence[Dims]], Head]] = {
    "classify": _classify,
    "segment": _segment,
    "detect": _detect,
    "embed": _embed,
}

_DETECT_SHAPES = {
    "pair": "boxes (N, A, 4) and scores (N, A, K)",
    "yolov5": "(N, A, 5 + K)",
    "yolov8": "(N, 4 + K, A)",
    "end2end": "(N, A, 6)",
}


def _mismatch(task: str, needed: str, outputs: Sequence[Dims]) -> RecipeError:
    shapes = ", ".join(str(dims) for dims in outputs)
    return RecipeError(
        f"--task {task} needs {needed}; for one image the network's outputs are {shapes}. "
        "Name the right ones, in order, with --outputs"
    )
