"""`--images`: each image with its result drawn on it, as a file."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from service.bulk.answers import RENDERING, Answer
from service.bulk.item import name_of, reason_of
from service.bulk.results import Mode
from service.bulk.whole_file import require_here
from service.errors import ConfigurationError
from service.imaging.overlay import RenderedImage
from service.media_types import PNG
from service.storage.url import is_url
from service.tasks.task import Task
from service.whole_write import write_whole

LONGEST_NAME = 200
"""Bytes of a file's name; most systems allow 255."""


def check_folder(folder: Path, task: Task, sources: Sequence[str], mode: Mode) -> None:
    """Check that results can be drawn into a folder.

    Raises:
        ConfigurationError: the task has nothing to draw, or the folder is not empty or lies in a source.
    """
    if RENDERING not in task.renderings:
        raise ConfigurationError(f"--images: the results of {task.name} can not be drawn.")
    require_here("--images", folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--images {folder}: this is a file, not a folder.")
    here = [one for one in sources if not is_url(one)]
    inside = [one for one in here if folder.resolve().is_relative_to(_root(one))]
    if inside:
        raise ConfigurationError(
            f"--images {folder}: this lies in the source {inside[0]!r}, which would have the drawn images too. Give "
            "another folder."
        )
    if mode == "new" and folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(
            f"--images {folder}: the folder is not empty. Give another one, or replace its files with --overwrite."
        )


class Drawings:
    """The folder of the drawn results."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.failed: list[str] = []
        """Why images with a result were not drawn, for each."""

    def add(self, answers: Sequence[Answer]) -> None:
        """Write the drawings of images; blocking.

        Raises:
            ConfigurationError: a file can not be written.
        """
        for answer in answers:
            if answer.drawing is not None:
                self._write(answer.row["image"], answer.drawing)
            elif answer.undrawn:
                self.failed.append(answer.undrawn)

    def _write(self, name: str, image: RenderedImage) -> None:
        path = self._folder / drawing_name(name, "png" if image.media_type == PNG else "jpg")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, image.content)
        except OSError as error:
            raise ConfigurationError(
                f"{name_of(path)} can not be written: {reason_of(error)}."
            ) from error


def drawing_name(name: str, extension: str) -> Path:
    """Return where in the folder the drawing of an image lies: below it, and no two images have the same place."""
    parts = [_safe(part) for part in name.split("/") if part not in {"", "."}]
    return Path(*parts[:-1], f"{parts[-1]}.{extension}")


def _root(source: str) -> Path:
    """Return the folder whose files are a source: of a pattern with `**`, all that lies before."""
    return Path(source.partition("**")[0] or ".").resolve()


def _safe(part: str) -> str:
    """Return a name of a file without control characters, and never `..`; a long one keeps its end."""
    if part == "..":
        return "%2E%2E"
    escaped = "".join(
        one if one.isprintable() and one not in '%\\:*?"<>|' else quote(one) for one in part
    )
    encoded = escaped.encode()
    if len(encoded) <= LONGEST_NAME:
        return escaped
    end = encoded[-LONGEST_NAME // 2 :].decode("utf-8", "ignore")
    return f"{blake2b(part.encode(), digest_size=8).hexdigest()}-{end}"
