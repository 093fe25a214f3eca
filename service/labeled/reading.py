"""A folder, a table or annotations → images with known answers, held against a network's labels."""

from collections.abc import Sequence
from pathlib import Path

from service.errors import LabelsError
from service.labeled.coco import find_coco, read_annotations, read_coco
from service.labeled.folders import read_class_folders, read_mask_folders, read_masks
from service.labeled.names import ClassNames
from service.labeled.table import read_table, read_table_beside
from service.labeled.truth import LabeledImage, LabeledImages

TASKS = ("classify", "segment", "detect")
_SHOWN = 5


def read_labels(path: Path, images: Path | None, task: str) -> LabeledImages:
    """Read what the form of the path and the task ask for.

    Args:
        path: a folder with a folder for each class, a folder of masks, a table, or annotations in COCO's form.
        images: the folder of the images, None where it is the usual one beside or in the path.
        task: one of `TASKS`.

    Raises:
        LabelsError: it can not be read, or does not fit the task.
    """
    if not path.exists():
        raise LabelsError(f"{path}: there is no such folder or file")
    try:
        return _read(path, images, task)
    except OSError as error:
        raise LabelsError(f"{path}: {error.filename}: {error.strerror}") from error


def read_beside(path: Path, task: str) -> LabeledImages:
    """Read known answers of images that are no files of this machine: `file` of each has the name that they give it.

    Args:
        path: annotations in COCO's form, a table, or a folder of masks, whose `file` is the name without its extension.
        task: one of `TASKS`.

    Raises:
        LabelsError: they can not be read, or do not fit the task.
    """
    if not path.exists():
        raise LabelsError(f"{path}: there is no such folder or file")
    try:
        if task == "detect":
            return read_annotations(find_coco(path) if path.is_dir() else path)
        if not path.is_dir():
            return read_table_beside(path, masks=task == "segment")
        if task == "segment":
            return read_masks(path)
    except OSError as error:
        raise LabelsError(f"{path}: {error.filename}: {error.strerror}") from error
    raise LabelsError(
        f"{path}: give a CSV with the columns file and label: the images are not in folders of this machine"
    )


def check_answers(labeled: LabeledImages, labels: Sequence[str], *, several: bool) -> None:
    """Refuse names of classes that the network does not have, and a number of labels that an image can not have.

    Args:
        labeled: the images.
        labels: the network's, by class id.
        several: whether an image may have several labels, or none.

    Raises:
        LabelsError: an answer does not fit the network, or most of its labels have no column in a table.
    """
    if several:
        require_names(labeled, labels, several=True)
        _require_columns(labeled, labels)
        return
    names, parts = ClassNames(labels), ClassNames(labels, several=True)
    for image in labeled.images:
        joined = (cell for cell in image.cells if names.find(cell) is None)
        if any(len(parts.ids([cell]) or ()) > 1 for cell in joined):
            raise _several_labels(labeled, image)
    require_names(labeled, labels, several=False)
    for image in labeled.images:
        if image.cells and len(names.ids(image.cells) or ()) != 1:
            raise _several_labels(labeled, image)


def _several_labels(labeled: LabeledImages, image: LabeledImage) -> LabelsError:
    has = f"{labeled.name}: {labeled.names()[image.file]} has the labels {', '.join(image.cells)}"
    return LabelsError(
        f"{has}, and an image can have only one. Is the network one for several labels (--multi-label of "
        "foveal-export)?"
    )


def without_column(labeled: LabeledImages, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels without a column in a table that has columns of 0 and 1: they count as never present."""
    if not labeled.columns:
        return ()
    names = ClassNames(labels)
    answered = {names.find(column) for column in labeled.columns}
    return tuple(
        label for class_id, label in enumerate(labels) if label and class_id not in answered
    )


def lacking(labels: Sequence[str]) -> str:
    """Return the labels without a column in words, the first of them by name."""
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return f"no column for {', '.join(labels[:_SHOWN])}{more}"


def _require_columns(labeled: LabeledImages, labels: Sequence[str]) -> None:
    lacks = without_column(labeled, labels)
    known = sum(map(bool, labels))
    if 2 * len(lacks) > known:
        raise LabelsError(
            f"{labeled.name}: {lacking(lacks)}, {len(lacks)} of the network's {known} labels, and no image would have "
            "them. Add their columns, or give the columns file and label, which say of each image what it shows"
        )


def require_names(labeled: LabeledImages, labels: Sequence[str], *, several: bool) -> None:
    """Refuse names of classes that the network does not have.

    Raises:
        LabelsError: there are some.
    """
    cells = (cell for image in labeled.images for cell in image.cells)
    ClassNames(labels, several=several).require(cells, labeled.name)
    boxes = (box.name for image in labeled.images for box in image.boxes)
    ClassNames(labels).require(boxes, labeled.name)


def _read(path: Path, images: Path | None, task: str) -> LabeledImages:
    if path.is_dir():
        if task == "detect":
            return read_coco(find_coco(path), images)
        tables = sorted(path.glob("*.csv"))
        if len(tables) == 1:
            return read_table(tables[0], images, masks=task == "segment")
        return read_mask_folders(path, images) if task == "segment" else read_class_folders(path)
    if path.suffix.lower() == ".json":
        if task != "detect":
            raise LabelsError(
                f"{path.name}: COCO annotations are for task detect. Give a folder or a CSV for {task}"
            )
        return read_coco(path, images)
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"}:
        raise LabelsError(
            f"{path.name}: give a folder, a .csv with the columns file and label, or COCO's .json"
        )
    if task == "detect":
        raise LabelsError(f"{path.name}: task detect needs annotations in COCO's form")
    return read_table(path, images, masks=task == "segment")
