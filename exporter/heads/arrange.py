"""Raw outputs in any order → those that the task's head reads, in its order, and the decoder that their shapes show."""

import re
from collections.abc import Sequence

from exporter.errors import RecipeError
from exporter.heads.detector_evidence import Shapes
from exporter.heads.detector_steps import read_shapes
from exporter.heads.embedding_output import embedding_first
from exporter.heads.raw_tensor import Dims, Tensor, in_front
from exporter.recipe import Recipe
from exporter.recipe_tables import DetectRecipe
from service.card import ImageInput

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
    shown = Shapes(
        outputs,
        image_input,
        labels=len(recipe.label_list() or ()) or labels,
        decoder=recipe.detect.decoder if "decoder" in recipe.detect.model_fields_set else "",
        are_named=bool(recipe.outputs),
    )
    reading = read_shapes(shown)
    detect = recipe.detect
    if not shown.decoder:
        detect = detect.model_copy(update={"decoder": reading.decoder})
    detect = _with_form(detect, reading.outputs)
    return recipe.model_copy(update={"detect": detect}), reading.outputs


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
    return in_front(outputs, _is_vector)


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


def _with_form(detect: DetectRecipe, ordered: Sequence[Tensor]) -> DetectRecipe:
    """Return the recipe with the form of boxes that the name of their output stands for, unless it is stated."""
    known: dict[str, str | bool] = {}
    if ordered[0].name in _CENTERS and ordered[0].dims[-1] == 4:
        known = {"box_format": "cxcywh", "box_unit": "frame", "nms_free": True}
    if ordered[0].name.partition(":")[0] == "detection_boxes":
        known = {"box_format": "yxyx", "box_unit": "frame", "nms_free": True}
    missing = {name: value for name, value in known.items() if name not in detect.model_fields_set}
    return detect.model_copy(update=missing)
