"""`--labeled`: a folder, a table or annotations → images with known answers, checked before a network is loaded."""

from collections.abc import Sequence
from pathlib import Path

from exporter.errors import RecipeError
from exporter.labeled.coco import find_coco, read_coco
from exporter.labeled.folders import read_class_folders, read_mask_folders
from exporter.labeled.names import ClassNames
from exporter.labeled.table import read_table
from exporter.labeled.truth import LabeledImages
from exporter.recipe import Recipe

TASKS = ("classify", "segment", "detect")


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
    try:
        labeled = _read(path, images, recipe.task)
    except OSError as error:
        raise RecipeError(f"--labeled {stated}: {error.filename}: {error.strerror}") from error
    labels = recipe.label_list()
    if labels is not None:
        require_names(labeled, labels, several=True)  # the network's outputs may show that they are
    return labeled.at_most(recipe.proof.labeled_limit)


def check_answers(labeled: LabeledImages, labels: Sequence[str], *, several: bool) -> None:
    """Refuse names of classes that the network does not have, and a number of labels that an image can not have.

    Args:
        labeled: the images.
        labels: the network's, by class id.
        several: whether an image may have several labels, or none.

    Raises:
        RecipeError: an answer does not fit the network.
    """
    require_names(labeled, labels, several=several)
    names = ClassNames(labels)
    for image in labeled.images:
        if image.cells and not several and len(names.ids(image.cells) or ()) != 1:
            raise RecipeError(
                f"--labeled {labeled.name}: {image.file.name} has the labels {', '.join(image.cells)}, and an image "
                "can have only one. Is the network one for several labels (--multi-label)?"
            )


def require_names(labeled: LabeledImages, labels: Sequence[str], *, several: bool) -> None:
    """Refuse names of classes that the network does not have.

    Raises:
        RecipeError: there are some.
    """
    cells = (cell for image in labeled.images for cell in image.cells)
    ClassNames(labels, several=several).require(cells, labeled.name)
    boxes = (box.name for image in labeled.images for box in image.boxes)
    ClassNames(labels).require(boxes, labeled.name)


def _images_folder(recipe: Recipe) -> Path | None:
    stated = recipe.proof.labeled_images
    if stated is None:
        return None
    folder = recipe.folder / stated
    if not folder.is_dir():
        raise RecipeError(f"--labeled-images {stated}: there is no such folder")
    return folder


def _read(path: Path, images: Path | None, task: str) -> LabeledImages:
    """Read what the form of the path and the task ask for."""
    if path.is_dir():
        if task == "detect":
            return read_coco(find_coco(path), images)
        tables = sorted(path.glob("*.csv"))
        if len(tables) == 1:
            return read_table(tables[0], images, masks=task == "segment")
        return read_mask_folders(path, images) if task == "segment" else read_class_folders(path)
    if path.suffix.lower() == ".json":
        if task != "detect":
            raise RecipeError(
                f"--labeled {path.name}: COCO annotations are for task detect. Give a folder or a CSV for {task}"
            )
        return read_coco(path, images)
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"}:
        raise RecipeError(
            f"--labeled {path.name}: give a folder, a .csv with the columns file and label, or COCO's .json"
        )
    if task == "detect":
        raise RecipeError(f"--labeled {path.name}: task detect needs annotations in COCO's form")
    return read_table(path, images, masks=task == "segment")
