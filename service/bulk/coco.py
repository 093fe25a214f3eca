"""`--coco`: results in COCO's form (https://cocodataset.org/#format-results), which pycocotools evaluates."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from service.bulk.image_names import ends_of
from service.bulk.rows import Row, is_failure
from service.bulk.whole_file import whole_file
from service.errors import ConfigurationError
from service.labeled.names import loose
from service.tasks.task import Task, TaskOptions

Entry = dict[str, Any]


def check_coco(task: Task, options: TaskOptions) -> None:
    """Check that the results of a task have COCO's form.

    Raises:
        ConfigurationError: they have not.
    """
    if task.name not in ENTRIES:
        raise ConfigurationError(f"--coco is for task {' and '.join(ENTRIES)}, not {task.name}.")
    given = options.model_dump()
    if given.get("box_format", "xyxy") != "xyxy" or given.get("normalized", False):
        raise ConfigurationError(
            "--coco writes boxes in its own form: leave the options box_format and normalized out."
        )


@dataclass(slots=True)
class Ids:
    """The ids of images and categories: those of an annotation file, or of the names and the network.

    Without a file an image's id is its number where its name is one, as in COCO itself (`000000397133.jpg`), else its
    name; a category's id is the class id.
    """

    images: dict[str, Any] | None = None
    categories: dict[str, Any] = field(default_factory=dict)
    unknown_images: int = 0
    unknown_boxes: int = 0
    _used: dict[Any, str] = field(default_factory=dict)

    def image(self, name: str) -> Any:  # noqa: ANN401  # a whole number, or any id of the file
        """Return the id of an image; None where the annotations do not have it.

        Raises:
            ConfigurationError: another image has the same id.
        """
        if self.images is not None:
            found = next((self.images[end] for end in ends_of(name) if end in self.images), None)
            self.unknown_images += found is None
        else:
            stem = name.rpartition("/")[2].partition(".")[0]
            found = int(stem) if stem.isdecimal() and stem.isascii() else name
        if found is not None and self._used.setdefault(found, name) != name:
            raise ConfigurationError(
                f"--coco: {self._used[found]} and {name} have the same id, {found}. Give the annotations with "
                "--coco-annotations, or the folders one by one."
            )
        return found

    def category(self, thing: Entry) -> Any:  # noqa: ANN401
        """Return the id of a thing's category; None where the annotations do not have it."""
        if self.images is None:
            return thing["class_id"]
        found = self.categories.get(loose(thing["label"]))
        self.unknown_boxes += found is None
        return found


def read_ids(path: Path) -> Ids:
    """Return the ids of an annotation file in COCO's form.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        content = json.loads(path.read_bytes())
        return Ids(
            {str(one["file_name"]): one["id"] for one in content["images"]},
            {loose(str(one["name"])): one["id"] for one in content["categories"]},
        )
    except OSError as error:
        raise ConfigurationError(f"--coco-annotations {path}: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"--coco-annotations {path}: this is not COCO's form, an object with images (id, file_name) and categories "
            "(id, name)."
        ) from error


def write_coco(path: Path, task: Task, rows: Iterable[Row], ids: Ids) -> int:
    """Write the results of all rows that have one, and return how many entries that are.

    Raises:
        ConfigurationError: the file can not be written, or two images have the same id.
    """
    count = 0
    with whole_file(path) as file:
        file.write(b"[")
        for entry in _entries(ENTRIES[task.name], rows, ids):
            file.write(b",\n" if count else b"\n")
            file.write(to_json(entry))
            count += 1
        file.write(b"\n]\n")
    return count


def _entries(
    things_of: Callable[[Entry], Iterator[Entry]], rows: Iterable[Row], ids: Ids
) -> Iterator[Entry]:
    for row in rows:
        if is_failure(row) or (image := ids.image(row["image"])) is None:
            continue
        for thing in things_of(row["result"]):
            if (category := ids.category(thing)) is not None:
                entry = {name: thing[name] for name in thing if name not in {"label", "class_id"}}
                yield {"image_id": image, "category_id": category, **entry}


def _boxes(result: Entry) -> Iterator[Entry]:
    for one in result["detections"]:
        yield {**_named(one), "bbox": _bbox(one["box"]), "score": one["score"]}


def _masks(result: Entry) -> Iterator[Entry]:
    for one in result["segments"]:
        yield {
            **_named(one),
            "segmentation": one["rle"],
            "bbox": _bbox(one["box"]),
            "score": one["confidence"],
        }


ENTRIES: dict[str, Callable[[Entry], Iterator[Entry]]] = {"detect": _boxes, "segment": _masks}
"""By task, what makes entries of a result."""


def _named(thing: Entry) -> Entry:
    return {"label": thing["label"], "class_id": thing["class_id"]}


def _bbox(box: Entry) -> list[float]:
    left, top = box["x_min"], box["y_min"]
    return [left, top, round(box["x_max"] - left, 2), round(box["y_max"] - top, 2)]
