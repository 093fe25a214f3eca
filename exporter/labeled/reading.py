"""`--labeled`: a folder, a table or annotations → images with known answers, checked before a network is loaded."""

from pathlib import Path

from exporter.errors import RecipeError
from exporter.named_option import naming_option
from exporter.recipe import Recipe
from service.labeled.reading import TASKS, read_labels, require_names
from service.labeled.truth import LabeledImages


def read_labeled(recipe: Recipe) -> LabeledImages | None:
    """Return the labeled images that a recipe names, None where it names none; at most its limit.

    Where the recipe states the labels, the names of the classes are checked too.

    Raises:
        RecipeError: they can not be read, or do not fit the task.
    """
    stated = recipe.proof.labeled
    if stated is None:
        return None
    if recipe.task not in TASKS:
        raise RecipeError(f"--labeled is for task {', '.join(TASKS)}, not for {recipe.task}")
    path = recipe.folder / stated
    if not path.exists():
        raise RecipeError(f"--labeled {stated}: there is no such folder or file")
    images = _images_folder(recipe)
    with naming_option("--labeled"):
        labeled = read_labels(path, images, recipe.task)
        labels = recipe.label_list()
        if labels is not None:
            # The network's outputs may show that an image may have several.
            require_names(labeled, labels, several=True)
    chosen = labeled.at_most(recipe.proof.labeled_limit)
    boxes = (box for image in chosen.images for box in image.boxes)
    if recipe.task == "detect" and all(box.is_crowd for box in boxes):
        raise RecipeError(
            f"--labeled {labeled.name}: none of its {len(chosen.images)} images has a box that is no crowd, so "
            "there is no mAP"
        )
    return chosen


def _images_folder(recipe: Recipe) -> Path | None:
    stated = recipe.proof.labeled_images
    if stated is None:
        return None
    folder = recipe.folder / stated
    if not folder.is_dir():
        raise RecipeError(f"--labeled-images {stated}: there is no such folder")
    return folder
