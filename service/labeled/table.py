"""A table of labeled images: CSV with the columns file and label, file and mask, or file and one column a label."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from service.errors import LabelsError
from service.labeled.image_files import SUFFIXES
from service.labeled.truth import LabeledImage, LabeledImages, require_files, with_slashes

FILE_COLUMNS = (
    *("file", "filename", "file_name", "path", "filepath", "file_path", "image", "img"),
    *("image_path", "img_path", "image_name", "image_file"),
)
LABEL_COLUMNS = ("label", "labels", "class", "classes", "category", "target", "tags")
MASK_COLUMNS = ("mask", "masks", "label", "target")
_INDEX_COLUMNS = ("", "id", "index", "idx", "unnamed: 0")
_NAME_COLUMNS = ("label_name", "class_name", "category_name")
"""Names of classes, beside which other columns have their numbers."""
_ONE_HOT = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
DELIMITERS = ",;\t"

Rows = list[list[str]]
Pairs = list[tuple[str, tuple[str, ...]]]
Columns = tuple[str, ...]


def read_table(path: Path, images: Path | None, *, masks: bool) -> LabeledImages:
    """Return the images that a CSV names; relative paths start from the folder of the images, else of the CSV.

    A file may have several rows: its labels are those of all of them. It has one mask.

    Args:
        path: the CSV; commas, semicolons or tabs between the columns, with or without a first row of names.
        images: the folder of the images, None for that of the CSV.
        masks: whether the second column names masks.

    Raises:
        LabelsError: it can not be read, has no such columns, or names files that are not there.
    """
    folder = images or path.parent
    pairs, columns = _pairs(path, lambda file: (folder / file).is_file(), masks=masks)
    pairs = [
        (
            with_slashes(file, folder),
            tuple(with_slashes(cell, path.parent) for cell in cells) if masks else cells,
        )
        for file, cells in pairs
    ]
    named = dict.fromkeys(file for file, _ in pairs)  # each once
    require_files([folder / file for file in named], "images")
    images_read = _images(pairs, folder, path.parent, masks=masks)
    return LabeledImages(path.name, images_read, columns)


def read_table_beside(path: Path, *, masks: bool) -> LabeledImages:
    """Return the images that a CSV names, which are elsewhere: their files are as the CSV has them.

    Args:
        path: see `read_table`.
        masks: whether the second column names masks, which lie here.

    Raises:
        LabelsError: it can not be read, or has no such columns.
    """
    pairs, columns = _pairs(path, lambda _: False, masks=masks)
    return LabeledImages(path.name, _images(pairs, Path(), path.parent, masks=masks), columns)


def mask_names(path: Path) -> list[str]:
    """Return the masks that a CSV names, as it has them, each once.

    Raises:
        LabelsError: it can not be read, or has no such columns.
    """
    pairs, _ = _pairs(path, lambda _: False, masks=True)
    return list(dict.fromkeys(cells[0] for _, cells in pairs))


def _pairs(path: Path, is_file: Callable[[str], bool], *, masks: bool) -> tuple[Pairs, Columns]:
    """Return each row's file and its labels, or its mask; and the labels that have a column of 0 and 1.

    Args:
        path: the CSV.
        is_file: whether a cell names an image that is there; its ending may say that it is one too.
        masks: whether the labels are masks.
    """

    def names_image(cell: str) -> bool:
        return Path(cell).suffix.lower() in SUFFIXES or is_file(cell)

    rows = _read(path)
    has_heading = not any(map(names_image, rows[0]))
    body = rows[1:] if has_heading else rows
    if not body:
        raise LabelsError(f"{path.name}: there are no rows below the first one")
    names = [cell.casefold() if has_heading else "" for cell in rows[0]]
    file_at = _named(names, FILE_COLUMNS)
    if file_at is None:
        files = (at for at in range(len(names)) if all(names_image(row[at]) for row in body))
        file_at = next(files, 0)
    others = [at for at in range(len(names)) if at != file_at]
    labels = [at for at in others if has_heading and names[at] not in _INDEX_COLUMNS]
    if not masks and _is_one_hot(body, labels):
        pairs = [
            (row[file_at], tuple(rows[0][at] for at in labels if _set(row[at]))) for row in body
        ]
        return pairs, tuple(rows[0][at] for at in labels)
    label_at = _named(names, MASK_COLUMNS if masks else (*_NAME_COLUMNS, *LABEL_COLUMNS))
    if label_at is None:
        label_at = _of_words(body, labels or others)
    if label_at is None and not has_heading and len(others) > 1:
        raise LabelsError(
            f"{path.name}: it has {len(others)} columns of numbers and no headings, so that it is not clear which one "
            "has the labels. Give it a first row, such as file,label"
        )
    if label_at is None:
        label_at = (labels or others)[0]
    return [(row[file_at], (row[label_at],)) for row in body], ()


def _is_one_hot(body: Rows, labels: Sequence[int]) -> bool:
    """Return whether there is a column of 0 and 1 for each of several labels."""
    return len(labels) > 1 and all(row[at].lower() in _ONE_HOT for row in body for at in labels)


def _set(cell: str) -> bool:
    return _ONE_HOT[cell.lower()]


def _of_words(body: Rows, columns: Sequence[int]) -> int | None:
    """Return the first column that has more than numbers: those number the rows, or the parts of the set."""
    return next((at for at in columns if not all(row[at].isdecimal() for row in body)), None)


def _named(heading: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the first column that has one of the names."""
    return next((heading.index(name) for name in names if name in heading), None)


def _read(path: Path) -> Rows:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path.name}: the table must be in UTF-8") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise LabelsError(f"{path.name}: the table is empty")
    delimiter = max(DELIMITERS, key=lines[0].count)
    try:
        # A blank after a comma would make the quotation marks behind it a part of the cell.
        read = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        rows = [[cell.strip() for cell in row] for row in read]
    except csv.Error as error:
        raise LabelsError(f"{path.name}: {error}") from error
    short = next((index for index, row in enumerate(rows) if len(row) < len(rows[0])), None)
    if len(rows[0]) < 2 or short is not None:
        row = 1 if short is None else short + 1
        raise LabelsError(
            f"{path.name}: row {row} has {len(rows[row - 1])} columns, at least {max(2, len(rows[0]))} are "
            "needed: file and label"
        )
    return rows


def _images(pairs: Pairs, folder: Path, beside: Path, *, masks: bool) -> tuple[LabeledImage, ...]:
    merged: dict[str, list[str]] = {}
    for file, cells in pairs:
        merged.setdefault(str(Path(file)), []).extend(cells)  # ./a.png is a.png
    if not masks:
        ordered = sorted(merged.items(), key=lambda item: item[1])
        return tuple(LabeledImage(folder / file, tuple(cells)) for file, cells in ordered)
    for file, named in merged.items():
        if len({Path(one) for one in named}) > 1:
            raise LabelsError(
                f"{file} has the masks {', '.join(dict.fromkeys(named))}, and an image can have only one. Remove the "
                "other rows"
            )
    require_files([beside / cells[0] for cells in merged.values()], "masks")
    return tuple(
        LabeledImage(folder / file, mask=beside / cells[0]) for file, cells in merged.items()
    )
