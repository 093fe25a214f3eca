"""The files below a folder, each once, in the order of their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.bulk.item import reason_of


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder whose files can not be listed, and why."""

    path: Path
    reason: str


def files_below(root: Path) -> Iterator[Path | Unreadable]:
    """Yield the paths of all files below a folder, and the folders that can not be listed.

    Links to folders are followed, and no folder is listed twice, so that a loop of links ends. What is hidden, its name
    beginning with a dot, is left out: macOS and notebooks put copies there.
    """
    seen: set[tuple[int, int]] = set()
    stack = [iter([root])]
    while stack:
        path = next(stack[-1], None)
        if path is None:
            stack.pop()
            continue
        if len(stack) > 1 and not _is_folder(path):
            yield path
            continue
        try:
            state = path.stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            stack.append(iter(_entries(path)))
        except OSError as error:
            yield Unreadable(path, reason_of(error))


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, by name; a million names take about 100 MB."""
    found = [one for one in folder.iterdir() if not one.name.startswith(".")]
    return sorted(found, key=lambda one: one.name)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a loop of links, or a name that is too long; reading it gives the reason
        return False
