"""Images with known answers, as their files state them: names of classes, boxes or masks; no ids of a network yet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.errors import LabelsError


@dataclass(frozen=True, slots=True)
class TrueBox:
    """One object: the name of its class, xyxy in pixels of the image, and whether it stands for a crowd of objects."""

    name: str
    xyxy: tuple[float, float, float, float]
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image and what is true of it; which parts are given depends on the task.

    `cells` are names of classes, or several of them in one text, as a table holds them. `size` is width and height by
    the annotations, where they state it.
    """

    file: Path
    cells: tuple[str, ...] = ()
    boxes: tuple[TrueBox, ...] = ()
    mask: Path | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LabeledImages:
    """All images of a labeled folder, table or COCO file; `name` is that of the folder or file, without its path.

    `columns` are the names of the classes that have a column of 0 and 1 in a table; none where it has no such columns.
    """

    name: str
    images: tuple[LabeledImage, ...]
    columns: tuple[str, ...] = ()

    def names(self) -> dict[Path, str]:
        """Return the name of each file for messages, with its folder where files of several have the same name."""
        files = {image.file for image in self.images}
        counts = Counter(file.name for file in files)
        return {
            file: file.name if counts[file.name] == 1 else f"{file.parent.name}/{file.name}"
            for file in files
        }

    def at_most(self, limit: int) -> "LabeledImages":
        """Return at most so many images, evenly from the whole list: each class keeps its share."""
        count = len(self.images)
        if count <= limit:
            return self
        chosen = tuple(self.images[index * count // limit] for index in range(limit))
        return replace(self, images=chosen)


def with_slashes(name: str, folder: Path) -> str:
    """Return a path as Windows writes it, with slashes, where no file in the folder has the very name."""
    slashed = name.replace("\\", "/")
    return name if slashed == name or (folder / name).is_file() else slashed


def require_files(files: Sequence[Path], what: str) -> None:
    """Raise where a file that the annotations name does not exist.

    Raises:
        LabelsError: there are such files; the message names the first.
    """
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise LabelsError(
            f"{len(absent)} of {len(files)} {what} are not there, the first is {absent[0]}. "
            "Name their folder (--labeled-images of foveal-export, SOURCE of foveal evaluate)"
        )
