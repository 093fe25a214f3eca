"""The decoder that the shapes and names of a detector's outputs show: one function for each layout that is known.

`detector_steps` lists them in the order in which they are tried.
"""

from collections.abc import Sequence

from exporter.errors import RecipeError
from exporter.heads.box_pair import is_boxes, pair, pair_of_one_class
from exporter.heads.detector_evidence import ShapeReading, Shapes
from exporter.heads.dropped_objectness import pair_objectness, refuse_dropped
from exporter.heads.one_output import decoder_of, is_detection_output
from exporter.heads.raw_tensor import Dims, Tensor, in_front

_PROTOTYPES = 32
"""The mask prototypes of instance segmentation."""


def read_as_stated(shown: Shapes) -> ShapeReading | None:
    """Return the outputs in the order of the decoder that the recipe states."""
    return ShapeReading(shown.decoder, _in_order(shown)) if shown.decoder else None


def _in_order(shown: Shapes) -> list[Tensor]:
    outputs, is_stated = shown.outputs, shown.are_named
    match shown.decoder:
        case "pair":
            found = pair(outputs, is_stated=is_stated) or pair_of_one_class(outputs)
            return found or list(outputs)
        case "pair_objectness":
            return pair_objectness(outputs, is_stated=is_stated) or list(outputs)
        case "triple":
            return _triple_of(outputs, is_stated=is_stated) or list(outputs)
        case "mmdet":
            return _scored_boxes_of(outputs) or list(outputs)
    ordered = in_front(outputs, _has_three_axes)
    return (
        in_front(ordered, is_detection_output) if shown.decoder == "detection_output" else ordered
    )


def read_triple(shown: Shapes) -> ShapeReading | None:
    found = _triple_of(shown.outputs, is_stated=shown.are_named)
    return None if found is None else ShapeReading("triple", found)


def read_pair(shown: Shapes) -> ShapeReading | None:
    found = pair(shown.outputs, is_stated=shown.are_named)
    return None if found is None else ShapeReading("pair", found)


def read_scored_boxes(shown: Shapes) -> ShapeReading | None:
    found = _scored_boxes_of(shown.outputs)
    return None if found is None else ShapeReading("mmdet", found)


def read_detection_output(shown: Shapes) -> ShapeReading | None:
    if not any(is_detection_output(one.dims) for one in shown.outputs):
        return None
    return ShapeReading("detection_output", in_front(shown.outputs, is_detection_output))


def read_pair_of_one_class(shown: Shapes) -> ShapeReading | None:
    found = pair_of_one_class(shown.outputs)
    if found is None:
        return None
    boxes, scores = found
    if shown.labels > 1:
        raise RecipeError(
            f"The output {scores.name} {scores.dims} has one score for each of the boxes {boxes.name} {boxes.dims}, "
            f"and {shown.labels} labels are given. Export the network with a score for each class, (N, A, "
            f"{shown.labels}), or with the class of each box too, (N, A); if all boxes are of one class, give one label"
        )
    return ShapeReading("pair", found)


def refuse_prototypes(shown: Shapes) -> None:
    """Refuse instance segmentation."""
    outputs = shown.outputs
    has_masks = any(len(one.dims) == 4 and one.dims[1] == _PROTOTYPES for one in outputs)
    if has_masks and len(outputs) > 1:
        raise RecipeError(
            "The network has mask prototypes beside its boxes, as instance segmentation has. --task detect serves "
            "boxes only: export the network without its mask head"
        )


def refuse_columns(shown: Shapes) -> None:
    """Refuse boxes (N, 4, A) beside scores of the same A, which no decoder reads."""
    outputs = [one for one in shown.outputs if _has_three_axes(one.dims)]
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


def read_one_output(shown: Shapes) -> ShapeReading:
    ordered = in_front(shown.outputs, _has_three_axes)
    return ShapeReading(decoder_of(ordered[0].dims, shown.image_input, shown.labels), ordered)


def refuse_dropped_objectness(shown: Shapes, reading: ShapeReading) -> None:
    """Refuse to leave out an objectness, where the decoder reads a score for each class and no objectness."""
    decoder, ordered = reading.decoder, reading.outputs
    dims = ordered[0].dims
    if decoder == "pair" and len(ordered) > 1 and is_boxes(ordered[0]):
        refuse_dropped(shown.outputs, ordered[:2], dims[1], shown.labels)
    elif decoder in {"detr", "yolov8", "yolov8_rows"} and len(dims) == 3:
        boxes = dims[2] if decoder == "yolov8" else dims[1]
        refuse_dropped(shown.outputs, ordered[:1], boxes, shown.labels)


def _has_three_axes(dims: Dims) -> bool:
    return len(dims) == 3


def _triple_of(outputs: Sequence[Tensor], *, is_stated: bool) -> list[Tensor] | None:
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


def _scored_boxes_of(outputs: Sequence[Tensor]) -> list[Tensor] | None:
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
