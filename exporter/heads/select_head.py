"""The head for a raw graph, selected by the task and by the shapes of the raw outputs."""

from collections.abc import Callable, Sequence
from math import prod

from exporter.backbone import MAP_AXES
from exporter.errors import RecipeError
from exporter.heads.boxes import DECODERS
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.grids import grid_strides
from exporter.heads.one_output import COLUMNS, MOST_ROWS, ROWS, SEVEN, SIX
from exporter.heads.raw_tensor import Dims
from exporter.heads.segment import SegmentHead
from exporter.network import Head
from exporter.recipe import Recipe, Task
from exporter.recipe_tables import BoxPart
from service.card import ImageInput


def select_head(
    recipe: Recipe, outputs: Sequence[Dims], image_input: ImageInput | None = None
) -> Head:
    """Return the head for the recipe's task.

    The image input is needed for boxes that are relative to a grid.

    Raises:
        RecipeError: the outputs do not have the shapes that the task needs.
    """
    if recipe.task == "temporal":
        raise RecipeError(
            "A temporal head is trained on the features of its backbone: its source is train:…"
        )
    head = _SELECTORS[recipe.task](recipe, outputs)
    if isinstance(head, DetectHead) and head.recipe.box_format == "grid":
        _require_grid(head, image_input)
    return head


def _classify(recipe: Recipe, outputs: Sequence[Dims]) -> Head:
    dims = outputs[0]
    is_vector = dims == (1,) or len(dims) == 2 or (len(dims) > 2 and set(dims[2:]) == {1})
    if not is_vector and len(outputs) == 1 and len(dims) == 3:
        raise RecipeError(
            f"--task classify needs one score per class, (N, K); for one image the network's output is {dims}: scores "
            f"for each of {dims[1]} places. Networks that read text give these, and no task of Foveal returns text. If "
            "the classes are those of the whole image, export the network with one place, or with their mean"
        )
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
    has_rest = dims[1] > 1 and len(recipe.label_list() or ()) == dims[1] + 1
    return SegmentHead(dims[1], (dims[2], dims[3]), activation, stated, has_rest)


def _detect(recipe: Recipe, outputs: Sequence[Dims]) -> Head:
    stated = recipe.detect
    dims = outputs[0]
    yolo = {"box_unit": "pixel", "box_format": "cxcywh", "one_class_a_box": True}
    form: dict[str, object] = {}
    decoder: str = stated.decoder
    match READ_AS.get(decoder, decoder), len(dims):
        case "pair" | "pair_objectness", 3 | 4 if _are_pair(decoder, outputs):
            anchors, columns = outputs[1][1], outputs[1][2]
        case "yolov5" | "yolox", 3 if dims[2] > 5:
            anchors, columns = dims[1], dims[2] - 5
            form = {**yolo, "box_format": "grid"} if stated.decoder == "yolox" else yolo
        case "yolov5_columns", 3 if dims[1] > 5:
            anchors, columns, form = dims[2], dims[1] - 5, yolo
        case "yolov8", 3 if dims[1] > 4:
            anchors, columns, form = dims[2], dims[1] - 4, yolo
        case "yolov8_rows", 3 if dims[2] > 4:
            anchors, columns, form = dims[1], dims[2] - 4, yolo
        case "detr", 3 if dims[2] > 4:
            anchors, columns = dims[1], dims[2] - 4
            # Where they are stated to be pixels, the boxes are those of yolov8_rows.
            is_detr = "box_unit" not in stated.model_fields_set or stated.box_unit == "frame"
            form = {"box_unit": "frame", "box_format": "cxcywh", "nms_free": is_detr}
        case chooses, _ if (found := _with_classes(chooses, outputs)) is not None:
            (anchors, form), columns = found, 0
        case "pair", 3 if len(outputs) == 1 and dims[1] > dims[2] > 4:
            raise _unknown_rows(dims, len(recipe.label_list() or ()))
        case _:
            raise _mismatch(
                f"detect --decoder {stated.decoder}", _DETECT_SHAPES[stated.decoder], outputs
            )
    if columns and stated.class_offset < 0 and stated.background != "first":
        raise RecipeError(
            f"--class-offset {stated.class_offset}: these outputs have a column of scores for each class, and the "
            "first one has the id 0. Leave it out, or state --background first if the first column is no class"
        )
    # What these decoders' networks are known to give; what the recipe states is for those that were changed.
    form = {
        name: value for name, value in form.items() if name not in _STATED & stated.model_fields_set
    }
    return DetectHead(
        DECODERS[decoder],
        stated.model_copy(update=form),
        anchors,
        columns,
        assumed=tuple(
            part for part, field in _BOX_PARTS.items() if field not in stated.model_fields_set
        ),
        assumes_nms_free=bool(form.get("nms_free")),
    )


def _are_pair(decoder: str, outputs: Sequence[Dims]) -> bool:
    if len(outputs) < 2 or outputs[0][-1] != 4 or len(outputs[1]) != 3:
        return False
    return decoder == "pair" or (len(outputs) > 2 and prod(outputs[2][1:]) == outputs[1][1])


def _with_classes(decoder: str, outputs: Sequence[Dims]) -> tuple[int, dict[str, object]] | None:
    """Return the number of boxes and their usual form, where the decoder's network names the class of each box.

    None where it does not, or the outputs are not those of this decoder.
    """
    dims = outputs[0]
    match decoder, len(dims):
        case "triple", 3 | 4 if len(outputs) >= 3 and dims[-1] == 4:
            return dims[1], {}
        case "mmdet", 3 if len(outputs) >= 2 and dims[2] == 5:
            return dims[1], {"box_unit": "pixel", "box_format": "xyxy"}
        case row, 3 | 4 if row in ROW_FORMS and dims[-1] == _WIDTHS.get(row, 7):
            return dims[-2], {**ROW_FORMS[row], "nms_free": dims[-2] <= MOST_ROWS}
    return None


ROW_FORMS: dict[str, dict[str, object]] = {
    "end2end": {"box_unit": "pixel", "box_format": "xyxy"},
    "paddle": {"box_unit": "pixel", "box_format": "xyxy"},
    "class_score": {"box_unit": "pixel", "box_format": "xyxy"},
    "yolov7": {"box_unit": "pixel", "box_format": "xyxy"},
    "efficientdet": {"box_unit": "pixel", "box_format": "yxyx"},
    "detection_output": {"box_unit": "frame", "box_format": "xyxy"},
}
"""The usual form of the boxes of decoders that read a box, its score and its class from each row."""

_WIDTHS = {"end2end": 6, "paddle": 6, "class_score": 6}
"""The number of columns in a row; 7 with the number of the image."""

_BOX_PARTS: dict[BoxPart, str] = {"format": "box_format", "unit": "box_unit"}
READ_AS = {ROWS: "yolov5", COLUMNS: "yolov5_columns", SIX: "end2end", SEVEN: "yolov7"}
"""Until values have decided, the form of the boxes is that of the first."""

_STATED = {"box_unit", "box_format", "nms_free", "one_class_a_box"}


def _require_grid(head: DetectHead, image_input: ImageInput | None) -> None:
    if image_input is None or grid_strides(head.anchors, image_input) is None:
        size = f"{image_input.height}×{image_input.width}" if image_input else "unknown size"
        raise RecipeError(
            f"Boxes relative to a grid need one box for each cell of strides 8, 16 and 32; the network has "
            f"{head.anchors} boxes at {size}. Is --decoder yolox right?"
        )


def _embed(_recipe: Recipe, outputs: Sequence[Dims]) -> Head:
    dims = outputs[0]
    channels = dims[1:2] if len(dims) == MAP_AXES else dims[1:]
    sizes = [size for size in channels if size != 1]
    if not sizes:
        raise RecipeError(
            f"For one image the network's output is {dims}: a single number is the same direction for every image, and "
            "no embedding. Name the right output with --outputs"
        )
    if len(sizes) > 1:
        raise RecipeError(
            f"--task embed needs a vector (N, F) or a map (N, F, h, w); for one image the network's output is {dims}. "
            "If these are tokens, which of them stand for the image, the first one or the mean of all, depends on the "
            "training: export the network with this choice, or name an output that holds it with --outputs"
        )
    return EmbedHead()


_SELECTORS: dict[Task, Callable[[Recipe, Sequence[Dims]], Head]] = {
    "classify": _classify,
    "segment": _segment,
    "detect": _detect,
    "embed": _embed,
}

_DETECT_SHAPES = {
    "pair": "boxes (N, A, 4) and scores (N, A, K)",
    "pair_objectness": "boxes (N, A, 4), scores (N, A, K) and an objectness (N, A)",
    "yolov5": "(N, A, 5 + K)",
    "yolov5_columns": "(N, 5 + K, A)",
    "yolov8": "(N, 4 + K, A)",
    "yolov8_rows": "(N, A, 4 + K)",
    "end2end": "(N, A, 6): box, score, class",
    "paddle": "(N, A, 6): class, score, box",
    "class_score": "(N, A, 6): box, class, score",
    "efficientdet": "(N, A, 7): image, box, score, class",
    "mmdet": "boxes with scores (N, A, 5) and classes (N, A)",
    "yolov7": "(M, 7): image, box, class, score",
    "yolox": "(N, A, 5 + K)",
    "detection_output": "(N, 1, A, 7): image, class, score, box",
    "detr": "(N, Q, 4 + K)",
    "triple": "boxes (N, A, 4), scores (N, A) and classes (N, A)",
}


def _mismatch(task: str, needed: str, outputs: Sequence[Dims]) -> RecipeError:
    shapes = ", ".join(str(dims) for dims in outputs)
    if task.endswith(" pair") and len(outputs) > 1 and outputs[1] == outputs[0][:2]:
        return RecipeError(
            f"The scores {outputs[1]} of the boxes {outputs[0]} have no axis for the classes. Export the network with "
            "scores (N, A, K); if there is one class, with (N, A, 1), as scores[..., None] gives"
        )
    if len(outputs) == 1:
        return RecipeError(
            f"--task {task} needs {needed}; for one image the network's output is {shapes}. Export the network with "
            "outputs of this form, or name tensors inside its graph that have it, in order, with --outputs"
        )
    return RecipeError(
        f"--task {task} needs {needed}; for one image the network's outputs are {shapes}. "
        "Name the right ones, in order, with --outputs"
    )


def _unknown_rows(dims: Dims, labels: int) -> RecipeError:
    decoders = ["yolov8_rows (box, one score for each class)"] * (labels != dims[2] - 5)
    decoders += ["yolov5 (box, objectness, one score for each class)"] * (labels != dims[2] - 4)
    return RecipeError(
        f"The output is {dims} for one image, and its {dims[1]} rows are those of no usual grid. If each is a box with "
        f"its scores, state --decoder {' or '.join(decoders)}; else name boxes and scores with --outputs"
    )
