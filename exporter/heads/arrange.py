"""Raw outputs in any order → those that the task's head reads, in its order, and the decoder that their shapes show."""

import re
from collections.abc import Callable, Sequence

from exporter.errors import RecipeError
from exporter.heads.box_pair import is_boxes, pair, pair_of_one_class
from exporter.heads.dropped_objectness import pair_objectness, refuse_dropped
from exporter.heads.embedding_output import embedding_first
from exporter.heads.grids import grid_strides
from exporter.heads.raw_levels import refuse_levels
from exporter.heads.raw_tensor import Dims, Tensor
from exporter.recipe import Recipe
from exporter.recipe_tables import DetectRecipe
from service.card import ImageInput

MOST_QUERIES = 1000
"""A detection transformer has at most so many boxes."""

MOST_ROWS = 3000
"""A detector with its own suppression gives at most so many."""

ROWS = "yolov5 or yolox"
COLUMNS = "yolov5_columns or yolov8"
SIX = "end2end, paddle or class_score"
SEVEN = "yolov7 or efficientdet"
"""Decoders between which only values decide: whether boxes are relative to cells, what the fifth value is, and in which
order the columns are."""

_END_TO_END = 7
"""Rows of a box, a score and a class have 6 values, with the number of the image 7."""

_DETECTION_OUTPUT = 7
"""The values of a row of Caffe's and OpenVINO's layer DetectionOutput: image, class, score, box."""

_WIDER = 4
"""An output that is wider than high by more than this has its boxes in columns: classes are seldom so many more."""

_SCORES = (
    "probabilities",
    "probs",
    "prob",
    "softmax",
    "sigmoid",
    "scores",
    "logits",
    "output",
    "out",
    "predictions",
    "pred",
)
"""Words in the names of a classifier's scores, in order of preference.

Probabilities beside logits show which activation the network was trained with; the logits alone do not.
"""

_UNNAMED = re.compile(r"(?:onnx::\w+_)?\d+$")
"""How PyTorch's exporter names an output that it is told no name of: 374, onnx::Gemm_374."""

_AUXILIARY = re.compile(r"(?:^|[^a-z])(?:aux\w*|embed\w*|features?)(?:$|[^a-z])", re.IGNORECASE)

_CENTERS = {"pred_boxes", "dets"}
"""Names of outputs that hold center and size in 0–1: Hugging Face's DETR family, and RF-DETR."""


def arrange(
    recipe: Recipe, outputs: Sequence[Tensor], image_input: ImageInput, labels: int = 0
) -> tuple[Recipe, list[Tensor]]:
    """Return the outputs in the order in which the head reads them, and the recipe with the decoder that suits them.

    What the recipe states is not changed. `labels` is the number of labels that the file itself has, 0 for none.

    Raises:
        RecipeError: the shapes show a network of another task, or several decoders that could be right.
    """
    if recipe.task == "classify":
        return recipe, _scores_first(recipe, outputs, len(recipe.label_list() or ()) or labels)
    if recipe.task == "segment":
        count = len(recipe.label_list() or ()) or labels
        return recipe, _maps_first(outputs, count, is_stated=bool(recipe.outputs))
    if recipe.task == "embed":
        return recipe, embedding_first(outputs, is_stated=bool(recipe.outputs))
    if recipe.task != "detect":
        return recipe, list(outputs)
    stated = recipe.detect
    count = len(recipe.label_list() or ()) or labels
    if "decoder" in stated.model_fields_set:
        if not any(_is_whole(one.dims, image_input) for one in outputs):
            refuse_levels(outputs, image_input, count, fewest=2)
        ordered = _as_stated(stated.decoder, outputs, is_stated=bool(recipe.outputs))
        _refuse_dropped(stated.decoder, outputs, ordered, count)
        return recipe.model_copy(update={"detect": _with_form(stated, ordered)}), ordered
    known, ordered = _as_found(
        outputs,
        image_input,
        count,
        is_stated=bool(recipe.outputs),
    )
    _refuse_dropped(known, outputs, ordered, count)
    detect = _with_form(stated.model_copy(update={"decoder": known}), ordered)
    return recipe.model_copy(update={"detect": detect}), ordered


def _refuse_dropped(
    decoder: str, outputs: Sequence[Tensor], ordered: Sequence[Tensor], labels: int
) -> None:
    """Refuse to leave out an objectness, where the decoder reads a score for each class and no objectness."""
    dims = ordered[0].dims
    if decoder == "pair" and len(ordered) > 1 and is_boxes(ordered[0]):
        refuse_dropped(outputs, ordered[:2], dims[1], labels)
    elif decoder in {"detr", "yolov8", "yolov8_rows"} and len(dims) == 3:
        boxes = dims[2] if decoder == "yolov8" else dims[1]
        refuse_dropped(outputs, ordered[:1], boxes, labels)


def _as_stated(decoder: str, outputs: Sequence[Tensor], *, is_stated: bool) -> list[Tensor]:
    """Return the outputs in the order of the decoder that the recipe states."""
    match decoder:
        case "pair":
            found = pair(outputs, is_stated=is_stated) or pair_of_one_class(outputs)
            return found or list(outputs)
        case "pair_objectness":
            return pair_objectness(outputs, is_stated=is_stated) or list(outputs)
        case "triple":
            return _triple(outputs, is_stated=is_stated) or list(outputs)
        case "mmdet":
            return _scored_boxes(outputs) or list(outputs)
    ordered = _first(outputs, lambda dims: len(dims) == 3)
    return _first(ordered, is_detection_output) if decoder == "detection_output" else ordered


def _as_found(
    outputs: Sequence[Tensor], image_input: ImageInput, labels: int, *, is_stated: bool
) -> tuple[str, list[Tensor]]:
    """Return the decoder that the shapes and names of the outputs show, and these in its order."""
    if sum(map(is_boxes, outputs)) > 1:
        refuse_levels(outputs, image_input, labels, fewest=2)
    found = _triple(outputs, is_stated=is_stated) or pair(outputs, is_stated=is_stated)
    if found is not None:
        return ("triple" if len(found) == 3 else "pair"), found
    if (scored := _scored_boxes(outputs)) is not None:
        return "mmdet", scored
    if any(is_detection_output(one.dims) for one in outputs):
        return "detection_output", _first(outputs, is_detection_output)
    if (of_one_class := pair_of_one_class(outputs)) is not None:
        _require_one_class(of_one_class, labels)
        return "pair", of_one_class
    refuse_levels(outputs, image_input, labels)
    _refuse_other_heads(outputs)
    ordered = _first(outputs, lambda dims: len(dims) == 3)
    return _decoder_of(ordered[0].dims, image_input, labels), ordered


def _require_one_class(found: Sequence[Tensor], labels: int) -> None:
    boxes, scores = found
    if labels > 1:
        raise RecipeError(
            f"The output {scores.name} {scores.dims} has one score for each of the boxes {boxes.name} {boxes.dims}, "
            f"and {labels} labels are given. Export the network with a score for each class, (N, A, {labels}), or with "
            "the class of each box too, (N, A); if all boxes are of one class, give one label"
        )


def _is_whole(dims: Dims, image_input: ImageInput) -> bool:
    """Return whether an output (N, A, C) or (N, C, A) has the boxes of several grids together, of one anchor or three.

    So many may be those of one level with other anchors too.
    """
    counts = [count // anchors for count in dims[1:] for anchors in (1, 3) if count % anchors == 0]
    return len(dims) == 3 and any(
        len(grid_strides(count, image_input) or ()) > 1 for count in counts
    )


def is_detection_output(dims: Dims) -> bool:
    """Return whether an output is (N, 1, A, 7), as that of the layer DetectionOutput."""
    return len(dims) == 4 and dims[1] == 1 and dims[3] == _DETECTION_OUTPUT


def _first(outputs: Sequence[Tensor], suits: Callable[[Dims], bool]) -> list[Tensor]:
    """Return the outputs with the first one that suits in front."""
    best = next((one for one in outputs if suits(one.dims)), None)
    return list(outputs) if best is None else [best, *(one for one in outputs if one is not best)]


def _maps_first(outputs: Sequence[Tensor], labels: int, *, is_stated: bool) -> list[Tensor]:
    """Return the outputs with the maps (N, C, h, w) of the labels in front, those of numbers before those of class ids.

    Raises:
        RecipeError: several maps could be the ones, and neither labels nor names tell which.
    """
    is_map = [one for one in outputs if len(one.dims) == 4]
    if is_map and all(one.is_integer for one in is_map):
        raise RecipeError(
            f"The output {is_map[0].name} holds whole numbers, as the class of each pixel. --task segment needs the "
            "score of each class: export the network without its ArgMax or its rounding, or name the output before it "
            "with --outputs"
        )
    numbers = [one for one in is_map if not one.is_integer]
    suitable = [one for one in numbers if _has_labels(one.dims, labels)] or numbers
    main = [one for one in suitable if not _AUXILIARY.search(one.name)] or suitable
    if len(main) > 1 and not is_stated:
        listed = ", ".join(f"{one.name} {one.dims}" for one in main)
        raise RecipeError(
            f"The network returns several maps for one image, {listed}, and each could be the scores of the classes. "
            f"Name the one to take: --outputs {main[0].name}"
        )
    best = next(iter(main), None)
    return list(outputs) if best is None else [best, *(one for one in outputs if one is not best)]


def _has_labels(dims: Dims, labels: int) -> bool:
    return dims[1] == labels or (dims[1] == 1 and labels == 2)


def _scores_first(recipe: Recipe, outputs: Sequence[Tensor], labels: int) -> list[Tensor]:
    """Return the outputs with a classifier's scores in front: one for each label, else (N, K), else (N, K, 1, 1).

    Raises:
        RecipeError: several outputs could be the scores, and neither labels nor names tell which.
    """
    if recipe.outputs:
        return list(outputs)
    _refuse_best_alone(outputs, labels)
    for wanted in (
        lambda dims: _is_vector(dims) and dims[1:2] == (labels,),
        lambda dims: len(dims) == 2,
        _is_vector,
    ):
        suitable = [one for one in outputs if wanted(one.dims) and not one.is_integer]
        if suitable:
            best = _named_scores(suitable, labels)
            return [best, *(one for one in outputs if one is not best)]
    return _first(outputs, _is_vector)


def _refuse_best_alone(outputs: Sequence[Tensor], labels: int) -> None:
    """Refuse a classifier that gives the best class, with or without its score, in place of the score of each class."""
    if not outputs or any(set(one.dims) != {1} for one in outputs):
        return
    if all(one.is_integer for one in outputs):
        raise RecipeError(
            f"The output {outputs[0].name} holds whole numbers, as the best class. --task classify needs the score of "
            "each class: export the network without its ArgMax, or name the output before it with --outputs"
        )
    if labels > 2 and any(one.is_integer for one in outputs):
        listed = ", ".join(f"{one.name} {one.dims}" for one in outputs)
        raise RecipeError(
            f"The outputs {listed} seem to be the best class and its score alone. --task classify needs the score of "
            "each class: export the network without its ArgMax, Max or TopK, or name the tensor before it with "
            "--outputs"
        )


def _named_scores(outputs: Sequence[Tensor], labels: int) -> Tensor:
    """Return the one of several outputs whose name is that of scores, if no other one may be those of another head."""
    main = [one for one in outputs if not _AUXILIARY.search(one.name)] or outputs
    for word in _SCORES:
        named = [one for one in main if word in one.words]
        if len(named) == 1 and not any(_is_rival(one, named[0]) for one in main):
            return named[0]
        if named:
            break
    if len(main) == 1:
        return main[0]
    listed = ", ".join(f"{one.name} {one.dims}" for one in outputs)
    number = (
        "; or give --labels, where their number shows it"
        if not labels
        else ""
        if any(labels in one.dims for one in outputs)
        else f"; none has {labels} values, one for each label"
    )
    raise RecipeError(
        f"Each of the outputs {listed} could be the scores of the classes. Name the one to take: "
        f"--outputs {main[0].name}{number}"
    )


def _is_rival(one: Tensor, named: Tensor) -> bool:
    """Return whether an output may be the scores of another head.

    These are as many, under a name that nobody gave them, or under one of scores although they are others.
    """
    if one is named or one.dims != named.dims:
        return False
    is_known = bool(one.origin and named.origin)
    if is_known and one.origin == named.origin:
        return False
    is_named = any(word in one.words for word in _SCORES)
    return bool(_UNNAMED.match(one.name)) or (is_named and is_known)


def _is_vector(dims: Dims) -> bool:
    return dims == (1,) or len(dims) == 2 or (len(dims) > 2 and set(dims[2:]) == {1})


def _triple(outputs: Sequence[Tensor], *, is_stated: bool) -> list[Tensor] | None:
    """Return boxes (N, A, 4), scores (N, A) and classes (N, A), in any order.

    Where neither names nor types tell scores from classes, the order of outputs that the user states does.
    """
    boxes = next((one for one in outputs if is_boxes(one)), None)
    flat = [one for one in outputs if boxes and one.dims == boxes.dims[:2]]
    if boxes is None or len(flat) < 2:
        return None
    # Names of scores first: `class_scores` names classes too. The number of detections may have the same shape.
    scores = [one for one in flat if _begins_with(one, ("score", "conf", "prob"))]
    classes = [one for one in flat if one not in scores and _names_classes(one)]
    if len(scores) == len(classes) == 1:
        return [boxes, *scores, *classes]
    if len(flat) > 2:
        return None
    named = classes or [one for one in flat if one.is_integer]
    if not named and is_stated:
        return [boxes, *flat]
    if not named:
        listed = ", ".join(one.name for one in flat)
        raise RecipeError(
            f"Which of the outputs {listed} holds scores and which holds classes can not be known. Name them in order: "
            "--decoder triple --outputs BOXES,SCORES,CLASSES"
        )
    return [boxes, next(one for one in flat if one is not named[0]), named[0]]


def _scored_boxes(outputs: Sequence[Tensor]) -> list[Tensor] | None:
    """Return boxes with their scores (N, A, 5), and classes (N, A), in any order."""
    scored = next((one for one in outputs if len(one.dims) == 3 and one.dims[2] == 5), None)
    flat = [one for one in outputs if scored and one.dims == scored.dims[:2]]
    named = [one for one in flat if _names_classes(one)] or flat
    return None if scored is None or not named else [scored, named[0]]


def _begins_with(one: Tensor, begins: tuple[str, ...]) -> bool:
    return any(word.startswith(begins) for word in one.words)


def _names_classes(one: Tensor) -> bool:
    return any(
        word in one.name.lower() for word in ("label", "class", "cls", "category", "categories")
    )


def _with_form(detect: DetectRecipe, ordered: Sequence[Tensor]) -> DetectRecipe:
    """Return the recipe with the form of boxes that the name of their output stands for, unless it is stated."""
    known: dict[str, str | bool] = {}
    if ordered[0].name in _CENTERS and ordered[0].dims[-1] == 4:
        known = {"box_format": "cxcywh", "box_unit": "frame", "nms_free": True}
    if ordered[0].name.partition(":")[0] == "detection_boxes":
        known = {"box_format": "yxyx", "box_unit": "frame", "nms_free": True}
    missing = {name: value for name, value in known.items() if name not in detect.model_fields_set}
    return detect.model_copy(update=missing)


def _decoder_of(dims: Dims, image_input: ImageInput, labels: int) -> str:
    if len(dims) != 3:
        return "pair"
    rows, columns = dims[1:]
    # A hundred rows are the cells of 320 pixels at stride 32 too; labels tell which.
    is_other = labels > 0 and columns <= _END_TO_END and labels not in {columns - 5, columns - 4}
    by_rows = None if is_other else grid_strides(rows, image_input)
    # One grid alone is a coincidence: the 300 queries of RT-DETR are three times the cells of 320 pixels at stride 32.
    by_anchors = len(grid_strides(rows // 3, image_input) or ()) > 1
    if labels and (by_labels := _decoder_by_labels(rows, columns, labels, by_rows)) is not None:
        return by_labels
    # Of few boxes both axes may be those of a grid.
    is_by_rows = labels > 0 and columns == 5 + labels and rows != 4 + labels and by_rows
    shown = {
        "yolov8": rows > 4 and not is_by_rows and grid_strides(columns, image_input),
        SIX: columns == 6 and rows <= MOST_ROWS and not by_rows,
        SEVEN: columns == 7 and rows <= MOST_ROWS and not by_rows,
        "yolov5": columns > 5 and rows % 3 == 0 and by_anchors,
        ROWS: by_rows and columns > 5,
    }
    by_grid = next((decoder for decoder, is_shown in shown.items() if is_shown), None)
    if by_grid is not None:
        return by_grid
    if _is_column_wise(rows, columns, labels):
        return "yolov8"
    return "detr" if rows <= MOST_QUERIES and columns > 4 else "pair"


def _decoder_by_labels(
    rows: int, columns: int, labels: int, by_rows: tuple[int, ...] | None
) -> str | None:
    """Return the decoder of boxes with 4 + K values each, where one axis alone has that size for the K labels.

    YOLOv8's boxes are columns. As rows, which some exports transpose them to, they lie on a grid; DETR's do not.
    Columns of 5 + K values may be YOLOv5's.
    """
    if columns == 5 + labels or rows == columns == 4 + labels:
        return None
    if rows == 5 + labels and columns != 4 + labels:
        return COLUMNS
    if rows == 4 + labels:
        return "yolov8" if columns > _END_TO_END or labels > 1 else None
    if columns <= _END_TO_END and rows <= MOST_ROWS and not by_rows:
        return None  # six or seven columns may also be a box, its score and its class
    if columns != 4 + labels:
        return None
    return "yolov8_rows" if by_rows else "detr" if rows <= MOST_QUERIES else None


def _is_column_wise(rows: int, columns: int, labels: int) -> bool:
    """Return whether an output of no known number of boxes is (N, 4 + K, A): the axis that fits the labels shows it."""
    if labels and (rows == 4 + labels) != (columns == 4 + labels):
        return rows == 4 + labels
    return rows > 4 and columns > _WIDER * rows


def _refuse_other_heads(outputs: Sequence[Tensor]) -> None:
    """Refuse instance segmentation, boxes in columns, and levels not decoded."""
    levels = [one for one in outputs if len(one.dims) == 3 and not one.is_integer]
    if len(levels) > 3 and len({one.dims[1] for one in levels}) > 1:
        raise RecipeError(
            f"The outputs {', '.join(one.name for one in levels)} are those of several levels, whose boxes are not "
            "decoded. Export the network with its decoding: boxes (N, A, 4) and scores (N, A, K) of all levels together"
        )
    if any(len(one.dims) == 4 and one.dims[1] == 32 for one in outputs) and len(outputs) > 1:
        raise RecipeError(
            "The network has mask prototypes beside its boxes, as instance segmentation has. --task detect serves "
            "boxes only: export the network without its mask head"
        )
    _refuse_columns([one for one in outputs if len(one.dims) == 3])


def _refuse_columns(outputs: Sequence[Tensor]) -> None:
    """Refuse boxes (N, 4, A) beside scores of the same A, which no decoder reads."""
    if len(outputs) < 2:
        return
    boxes, *others = outputs
    _, four, count = boxes.dims
    beside = next((one for one in others if count in one.dims[1:]), None)
    if four == 4 and count > 4 and beside is not None:
        raise RecipeError(
            f"The output {boxes.name} {boxes.dims} has its boxes in columns, beside {beside.name} {beside.dims}. "
            "Export the network with boxes (N, A, 4), transposed; scores may be (N, A, K) or (N, K, A)"
        )
