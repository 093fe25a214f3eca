"""What can be checked before the first second of work."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from pydantic import BaseModel

from exporter.errors import RecipeError
from exporter.file_kind import SAVED, require_saved, require_weights
from exporter.images import NO_IMAGE, require_folder
from exporter.input_contradictions import refuse_unread
from exporter.label_count import counted, likely_cause
from exporter.named_option import naming_option
from exporter.network import Facts
from exporter.recipe import LABELED, Recipe, Task
from exporter.recipe_tables import DetectRecipe
from exporter.writing import require_writable
from service.labeled.image_files import has_images


def check_recipe(recipe: Recipe, path: Path) -> None:
    """Check what needs no network: options, labels, folders of images, and the place of the file.

    Raises:
        RecipeError: a file or a folder is missing or not usable, or something is stated that is not read.
        WriteError: the servable can not be written where it goes.
    """
    _check_source(recipe)
    _check_task(recipe)
    if recipe.input.resize is not None:
        refuse_unread(recipe.input.model_dump(exclude_none=True), recipe.input.resize)
    _check_files(recipe)
    _check_folders(recipe)
    require_writable(path)
    recipe.label_list()  # the last, since those of a checkpoint need PyTorch


def _check_files(recipe: Recipe) -> None:
    """Refuse a file of the network, or of its weights, that is not there or is clearly something else."""
    kind, _, where = recipe.source.partition(":")
    if kind in COMPLETE:
        file = recipe.locate(where)
        if kind in SAVED:
            require_saved(file, *SAVED[kind])
    weights = recipe.weights
    if weights is not None and weights not in _NAMES and (recipe.folder / weights).is_dir():
        raise RecipeError(
            f"--weights {weights}: this is a folder. {_weights_in(recipe.folder / weights)}"
        )
    # torchvision's weights have many names, of which none has an ending.
    is_file = weights is not None and (kind in _FILES_ALONE or Path(weights).suffix != "")
    if weights is not None and is_file and weights not in _NAMES:
        require_weights(recipe.locate(weights, "weights"))


def _weights_in(folder: Path) -> str:
    """Return the next step for a folder where a file of weights is meant."""
    files = sorted(file.name for file in islice(folder.iterdir(), _MOST_FILES) if file.is_file())
    if not files:
        return "Give the file of the weights; this folder has no file"
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return f"Give the file of the weights; in it are {', '.join(files[:_SHOWN])}{more}"


def _check_folders(recipe: Recipe) -> None:
    images, code, labeled = recipe.proof.images, recipe.code, recipe.proof.labeled
    if images is not None:
        folder = require_folder("--images", recipe.folder / images)
        with naming_option("--images"):
            is_empty = not has_images(folder)
        if is_empty:
            raise RecipeError(f"--images {images}: {NO_IMAGE}")
    if code is not None:
        require_folder("--code", recipe.folder / code)
    if labeled is not None and not (recipe.folder / labeled).exists():
        raise RecipeError(f"--labeled {labeled}: there is no such folder or file")


def _check_source(recipe: Recipe) -> None:
    """Refuse what the recipe's source does not read."""
    kind = recipe.source.partition(":")[0]
    if kind == "onnx" and recipe.none_arguments:
        raise RecipeError(
            f"--arg {recipe.none_arguments[0]}=None: an input of an ONNX file needs numbers. Give them, or leave it out"
        )
    for name, value in (("--arg", recipe.arguments), ("--weights", recipe.weights)):
        if kind in COMPLETE and value and (kind, name) != ("onnx", "--arg"):
            raise RecipeError(
                f"{name} is for sources that build a network; {kind}: reads a file that is complete. Leave it out"
            )
    if recipe.code is not None and kind not in WITH_CODE:
        raise RecipeError(
            f"--code: only {' and '.join(WITH_CODE)} read this, not {kind}:. Leave it out"
        )
    if recipe.variants and recipe.precision != ("fp32",):
        raise RecipeError(
            "--variants are made beside a servable in fp32, with which a service compares them. Leave --precision out"
        )
    if recipe.variants and recipe.task == "temporal":
        raise RecipeError("--variants: a network over features has none. Leave it out")


def _check_task(recipe: Recipe) -> None:
    """Refuse what the recipe's task does not read."""
    stated: dict[Task, list[str]] = {
        "classify": [*_given(recipe.classify), *(["--multi-label"] if recipe.multi_label else [])],
        "segment": _given(recipe.segment),
        "detect": _given(recipe.detect),
        "temporal": [
            *(["--backbone"] if recipe.backbone is not None else []),
            *(_given(recipe.window) if recipe.window is not None else []),
        ],
    }
    for task, options in stated.items():
        if recipe.task != task and options:
            read = "reads this" if len(options) == 1 else "reads these"
            raise RecipeError(
                f"{', '.join(options)}: only --task {task} {read}, not {recipe.task}. Leave "
                f"{'it' if len(options) == 1 else 'them'} out"
            )
    if recipe.labels and recipe.task not in LABELED:
        raise RecipeError(f"--labels: --task {recipe.task} has no classes. Leave it out")


def _given(table: BaseModel) -> list[str]:
    """Return the options of the fields of a table that are stated."""
    return [
        _OPTIONS.get(name, f"--{name.replace('_', '-')}") for name in sorted(table.model_fields_set)
    ]


COMPLETE = {"onnx", "program", "torchscript"}
"""The kinds of sources whose file holds the network with its weights."""

_FILES_ALONE = {"python", "timm", "transformers"}
"""The kinds of sources whose weights are a file, or one of the names that follow."""

_NAMED = {"torchvision", "timm"}
"""The kinds of sources whose libraries build a network for a number of classes, `num_classes`."""

_BACKGROUND = {"", "background", "__background__"}
_NAMES = {"DEFAULT", "none"}
_MOST_FILES = 1000
_SHOWN = 5

WITH_CODE = ("python", "train")
"""The kinds of sources that import modules."""

_OPTIONS = {
    "score_activation": "--activation",
    "frames": "--window-frames",
    "stride": "--window-stride",
    "fps": "--window-fps",
}
"""The options of fields that have another name."""


def check_labels(recipe: Recipe, facts: Facts, needed: int | None = None) -> tuple[str, ...]:
    """Return the labels: the recipe's, else the source's; their number must be that of the classes.

    Args:
        recipe: may state labels.
        facts: what the source knows.
        needed: the number of classes that the network's outputs show. Without it the source's number counts, unless
            the task has no labels.

    Raises:
        RecipeError: they are too few or too many, or --background-id is none of them.
    """
    labels = _fitting_labels(recipe, facts, needed)
    background = recipe.segment.background_id
    if recipe.task == "segment" and background is not None and not 0 <= background < len(labels):
        raise RecipeError(
            f"--background-id {background}: the network has {len(labels)} classes, 0 to {len(labels) - 1}"
        )
    return labels


def _fitting_labels(recipe: Recipe, facts: Facts, needed: int | None) -> tuple[str, ...]:
    stated = recipe.label_list()
    known = facts.labels if recipe.task in LABELED else None
    labels = stated or known or ()
    if needed is None and recipe.task in LABELED:
        needed = facts.classes
    if stated and facts.blank_first and needed == len(stated) + 1:
        return ("", *stated)
    if needed == 1 and len(labels) == 2:
        return labels  # a score between two classes
    if needed is not None and len(labels) != needed:
        first = ", of which the first is background" if facts.blank_first else ""
        if recipe.task == "detect":
            first = _of_background(recipe.detect, needed - len(labels)) or first
        one = ", or two, where the score is that of the second one" if needed == 1 else ""
        given = counted(labels, _where_given(recipe)) if labels else "none are given"
        raise RecipeError(
            f"labels: {given}, the network has {needed} classes{first}.{likely_cause(labels, needed)} "
            f"Give one label for each class, in the order of the network's outputs{one}: --labels FILE"
            f"{_built_for(recipe, facts, labels)}"
        )
    return labels


def _built_for(recipe: Recipe, facts: Facts, labels: Sequence[str]) -> str:
    """Return how a network with random weights is built for these labels, "" where it is none or that is stated."""
    kind = recipe.source.partition(":")[0]
    if kind not in _NAMED or recipe.weights != "none" or not labels:
        return ""
    if "num_classes" in recipe.arguments:
        return ""
    needs_background = facts.blank_first and labels[0].lower() not in _BACKGROUND
    counted_too = " (the background is one)" if needs_background else ""
    return f". For these labels: --arg num_classes={len(labels) + needs_background}{counted_too}"


def _where_given(recipe: Recipe) -> str:
    if recipe.labels is not None and recipe.labels == recipe.weights:
        return f"kept beside the weights in {recipe.weights}"
    return "given"


def _of_background(detect: DetectRecipe, too_few: int) -> str:
    """Return what a detector's background has to do with labels of another number, "" where there is nothing."""
    if detect.background != "none" and detect.class_offset >= 0:
        return f", of which the {detect.background} is background, whose label may be left out"
    if too_few == 1 and not {"background", "class_offset"} & detect.model_fields_set:
        return " (is one the background? --background first or last states it, and its label may be left out)"
    return ""
