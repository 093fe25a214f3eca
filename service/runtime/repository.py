"""The model repository on disk: which servables it holds, and which of its files can not be served and why."""

from dataclasses import dataclass
from pathlib import Path

from service.card import DATA_SUFFIX, Card, CardError, read_card
from service.errors import ConfigurationError
from service.logs import printable
from service.runtime.fleet import MODEL_NAME, is_version

MODEL_FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class Servable:
    """One version of one model. Name and version come from its folders, not from its card: a rename renames it."""

    name: str
    version: int
    path: Path
    card: Card

    @property
    def size_bytes(self) -> int:
        """The size of its file, and of that with its weights; 0 where they are gone."""
        beside = self.path.with_name(self.path.name + DATA_SUFFIX)
        return sum(_size(path) for path in (self.path, beside))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file in the repository that is placed like a model and can not be served."""

    name: str
    path: Path
    reason: str


def scan_repository(root: Path) -> tuple[tuple[Servable, ...], tuple[Refusal, ...]]:
    """Return the servables in `root/<name>/<version>/model.onnx`, by name and ascending version, and the refusals.

    What is hidden (`.name`) is not looked at: there is what is being copied, and what other programs keep.

    Raises:
        ConfigurationError: `root` is no folder, or can not be read.
    """
    if not root.is_dir():
        raise ConfigurationError(
            f"There is no folder {root}. Set FOVEAL_MODELS to one that holds <name>/<version>/{MODEL_FILE}."
        )
    servables: list[Servable] = []
    refusals: list[Refusal] = []
    folders = [folder for model in _entries_of_root(root) for folder in entries_of(model)]
    for path in sorted(folder / MODEL_FILE for folder in folders):
        try:
            path.lstat()  # of a link itself: one that leads nowhere is refused, not ignored
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # opening it says why
        try:
            servables.append(_servable(path))
        except (CardError, OSError) as error:
            message = str(error)
            reason = message if str(path) in message else f"{path}: {message}"
            # A folder's name may hold line ends, or bytes that are no text: no answer and no log line could carry it.
            refusals.append(Refusal(printable(path.parent.parent.name), path, printable(reason)))
    return tuple(sorted(servables, key=lambda one: (one.name, one.version))), tuple(refusals)


def _entries_of_root(root: Path) -> list[Path]:
    try:
        return _visible(root)
    except OSError as error:  # to serve nothing would be worse than to go on
        raise ConfigurationError(
            f"The folder {root} can not be read: {error.strerror or error}. Set FOVEAL_MODELS to one that can."
        ) from error


def entries_of(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden; nothing where it is no folder, or has just been removed."""
    try:
        return _visible(folder)
    except OSError:
        return []


def _visible(folder: Path) -> list[Path]:
    return [one for one in folder.iterdir() if not one.name.startswith(".")]


def _servable(path: Path) -> Servable:
    name, version = path.parent.parent.name, path.parent.name
    if not MODEL_NAME.fullmatch(name):
        raise CardError(
            f"{path}: {name!r} can not name a model; use a-z, 0-9 and . _ - after the first"
        )
    if not is_version(version):
        raise CardError(f"{path}: {version!r} is not a version; use a positive whole number")
    return Servable(name, int(version), path, read_card(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
