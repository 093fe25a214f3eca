"""Annotations in COCO's form (https://cocodataset.org/#format-data): JSON with images, categories and boxes."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.errors import LabelsError
from service.labeled.truth import LabeledImage, LabeledImages, TrueBox, require_files, with_slashes

PREFIX = "instances_"

FEWEST_BOXES = 8
BEYOND = 0.1
"""From this share of boxes on that end beyond their image, they may be corners; few may do so at an edge."""

_FIELDS = {
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "images": ("id", "file_name"),
}
"""The lists of the form, and what each of their entries must have."""
_FORM = "It needs " + ", ".join(f"{part} ({', '.join(fields)})" for part, fields in _FIELDS.items())


def read_coco(path: Path, images: Path | None) -> LabeledImages:
    """Return the images of a COCO file with their boxes, in the order of their ids.

    The images are in the given folder, else where such files commonly have them: beside the JSON, in `images` or in a
    folder with the name of the JSON. Their names may have backslashes, as Windows writes paths.

    Raises:
        LabelsError: the JSON has another form, or the images are not there.
    """
    listed = read_annotations(path).images
    folder = images or _folder_of(path, str(listed[0].file))
    placed = tuple(
        replace(one, file=folder / with_slashes(str(one.file), folder)) for one in listed
    )
    require_files([one.file for one in placed], "images")
    return LabeledImages(path.name, placed)


def read_annotations(path: Path) -> LabeledImages:
    """Return the images of a COCO file with their boxes, in the order of their ids, wherever they are.

    Raises:
        LabelsError: the JSON has another form, or lists no images.
    """
    content = _content(path)
    try:
        categories, annotations, images = (
            _entries(content, part, fields) for part, fields in _FIELDS.items()
        )
        names = {one["id"]: str(one["name"]) for one in categories}
        boxes: dict[Any, list[TrueBox]] = {}
        for one in annotations:
            boxes.setdefault(one["image_id"], []).append(_box(one, names))
        listed = sorted(images, key=lambda one: one["id"])
        _require_own({one["id"] for one in listed}, len(listed), boxes)
        _require_one_each([str(one["file_name"]) for one in listed])
        _refuse_corners({one["id"]: _size(one) for one in listed}, boxes)
        read = tuple(
            LabeledImage(
                Path(str(one["file_name"])), boxes=tuple(boxes.get(one["id"], ())), size=_size(one)
            )
            for one in listed
        )
    except TypeError as error:  # ids of several kinds, or that are lists
        raise LabelsError(
            f"{path.name}: this is not COCO's form: its ids are not all numbers. {_FORM}"
        ) from error
    except ValueError as error:
        raise LabelsError(f"{path.name}: this is not COCO's form: {error}. {_FORM}") from error
    if not read:
        raise LabelsError(f"{path.name}: it lists no images")
    return LabeledImages(path.name, read)


def find_coco(folder: Path) -> Path:
    """Return the only JSON file of a folder.

    Raises:
        LabelsError: there is none, or there are several.
    """
    found = sorted(folder.glob("*.json"))
    if len(found) != 1:
        which = ", ".join(file.name for file in found) or "none"
        raise LabelsError(
            f"{folder}: task detect needs annotations in COCO's form; of JSON files the folder has {which}. "
            "Give the file itself"
        )
    return found[0]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise LabelsError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise LabelsError(f"{path.name}: this is not COCO's form: it is no object")
    return content


def _entries(content: dict[str, Any], part: str, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the entries of one of the lists.

    Raises:
        ValueError: it says which list or entry lacks what.
    """
    if part not in content:
        raise ValueError(f"it has no {part}")
    entries = content[part]
    if not isinstance(entries, list):
        raise ValueError(f"{part} is no list")
    for index, one in enumerate(entries):
        if not isinstance(one, dict):
            raise ValueError(f"{part}[{index}] is no object")
        for field in fields:
            if field not in one:
                raise ValueError(f"{part}[{index}] has no {field}")
    return entries


def _box(one: dict[str, Any], names: dict[Any, str]) -> TrueBox:
    if one["category_id"] not in names:
        raise ValueError(f"category_id {one['category_id']} of an annotation is no category")
    try:
        x, y, width, height = (float(value) for value in one["bbox"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"bbox {one['bbox']} is not four numbers") from error
    if not all(map(math.isfinite, (x, y, x + width, y + height, width * height))):
        raise ValueError(f"bbox {one['bbox']} is not finite")
    if width < 0 or height < 0:
        raise ValueError(f"bbox {one['bbox']} has a width or height below 0")
    return TrueBox(
        names[one["category_id"]], (x, y, x + width, y + height), bool(one.get("iscrowd"))
    )


def _require_own(ids: set[Any], images: int, boxes: Mapping[Any, object]) -> None:
    """Refuse images with the same id, and boxes of which none belongs to an image."""
    if len(ids) < images:
        raise ValueError("several images have the same id")
    if ids and boxes and ids.isdisjoint(boxes):
        raise ValueError(
            f"no annotation belongs to an image: image_id {next(iter(boxes))!r} is none"
        )


def _require_one_each(files: list[str]) -> None:
    """Refuse a file that two images have: each would be judged by a part of its boxes."""
    twice = next((name for name, count in Counter(files).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"several images have the file_name {twice!r}")


def _refuse_corners(
    sizes: Mapping[Any, tuple[int, int] | None], boxes: Mapping[Any, Sequence[TrueBox]]
) -> None:
    """Refuse boxes that are x1, y1, x2, y2: read as COCO's x, y, width, height, many would end beyond their image."""
    placed = [
        (box.xyxy, size) for image, size in sizes.items() if size for box in boxes.get(image, ())
    ]
    beyond = [
        right > width + 1 or bottom > height + 1
        for (_, _, right, bottom), (width, height) in placed
    ]
    if len(placed) < FEWEST_BOXES or sum(beyond) < BEYOND * len(placed):
        return
    if all(
        x < right - x <= width + 1 and y < bottom - y <= height + 1
        for (x, y, right, bottom), (width, height) in placed
    ):
        raise ValueError(
            f"{sum(beyond)} of {len(placed)} boxes end beyond their image, and all lie in it if bbox is x1, y1, x2, "
            "y2. Write x, y, width, height"
        )


def _size(one: dict[str, Any]) -> tuple[int, int] | None:
    stated = one.get("width"), one.get("height")
    if None in stated:
        return None
    try:
        return int(stated[0]), int(stated[1])  # type: ignore[arg-type]  # what JSON has there
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"width {stated[0]!r} and height {stated[1]!r} of an image are no numbers"
        ) from error


def _folder_of(path: Path, first: str) -> Path:
    name = path.stem.removeprefix(PREFIX)
    near = path.parent
    folders = (near, near / "images", near / name, near.parent / "images", near.parent / name)
    return next(
        (folder for folder in folders if (folder / with_slashes(first, folder)).is_file()), near
    )
