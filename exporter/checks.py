"""What can be checked before the first second of work."""

import os
from pathlib import Path

from exporter.errors import RecipeError, WriteError
from exporter.network import Facts
from exporter.recipe import LABELED, Recipe


def check_recipe(recipe: Recipe, path: Path) -> None:
    """Check what needs no network: labels, images, and the place of the file.

    Raises:
        RecipeError: a file or a folder is missing or not usable.
        WriteError: the servable can not be written where it goes.
    """
    _check_options(recipe)
    recipe.label_list()
    images = recipe.proof.images
    if images is not None and not (recipe.folder / images).is_dir():
        raise RecipeError(f"--images {images}: there is no such folder")
    if recipe.code is not None and not (recipe.folder / recipe.code).is_dir():
        raise RecipeError(f"--code {recipe.code}: there is no such folder")
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    if not existing.is_dir():
        raise WriteError(f"{path} can not be written: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise WriteError(f"{path} can not be written: no permission for {existing}")


def _check_options(recipe: Recipe) -> None:
    """Refuse what the recipe's source or task does not read."""
    kind = recipe.source.partition(":")[0]
    for name, value in (("--arg", recipe.arguments), ("--weights", recipe.weights)):
        if kind in COMPLETE and value and (kind, name) != ("onnx", "--arg"):
            raise RecipeError(
                f"{name} is for sources that build a network; {kind}: reads a file that is complete. Leave it out"
            )
    if recipe.variants and recipe.precision != ("fp32",):
        raise RecipeError(
            "--variants are made beside a servable in fp32, with which a service compares them. Leave --precision out"
        )
    if recipe.variants and recipe.task == "temporal":
        raise RecipeError("--variants: a network over features has none. Leave it out")
    for task, table in (("detect", recipe.detect), ("segment", recipe.segment)):
        if recipe.task != task and table.model_fields_set:
            options = sorted(table.model_fields_set)
            shown = ", ".join(_OPTIONS.get(name, f"--{name.replace('_', '-')}") for name in options)
            raise RecipeError(
                f"{shown}: only --task {task} reads this, not {recipe.task}. Leave it out"
            )


COMPLETE = {"onnx", "program", "torchscript"}
"""The kinds of sources whose file holds the network with its weights."""

_OPTIONS = {"score_activation": "--activation"}


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
        one = ", or two, where the score is that of the second one" if needed == 1 else ""
        given = f"{len(labels)} are given" if labels else "none are given"
        raise RecipeError(
            f"labels: {given}, the network has {needed} classes{first}. "
            f"Give one label for each class, in the order of the network's outputs{one}: --labels FILE"
        )
    return labels
