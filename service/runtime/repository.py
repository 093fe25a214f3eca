"""The model repository on disk: which servables it holds, and which of its files can not be served and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from service.card import DATA_SUFFIX, REFERENCE_FILE, Card, CardError, Precision
from service.errors import ConfigurationError, shortage_of
from service.logs import printable
from service.runtime.first_load import INTERRUPTED, interrupted
from service.runtime.fleet import MODEL_NAME, is_version
from service.servable_file import read_card

MODEL_FILE = "model.onnx"
_NOWHERE = "is a link that leads nowhere. Correct or remove it"


@dataclass(frozen=True, slots=True)
class Servable:
    """One version of one model. Name and version come from its folders, not from its card: a rename renames it."""

    name: str
    version: int
    path: Path
    card: Card
    beside: tuple[tuple[str, int, int], ...] = ()
    """The other files of its folder that can change how it is served, each with its size and the time of its change."""

    @property
    def size_bytes(self) -> int:
        """The size of its file, and of that with its weights; 0 where they are gone."""
        beside = self.path.with_name(self.path.name + DATA_SUFFIX)
        return sum(_size(path) for path in (self.path, beside))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file in the repository that is placed like a model and can not be served.

    `has_answered` is False where it never did in this place, so that nobody can expect it to.
    """

    name: str
    path: Path
    reason: str
    has_answered: bool = True


def scan_repository(
    root: Path, *, settled: bool = False
) -> tuple[tuple[Servable, ...], tuple[Refusal, ...]]:
    """Return the servables in `root/<name>/<version>/model.onnx`, by name and ascending version, and the refusals.

    What is hidden (`.name`) is not looked at: there is what is being copied, and what other programs keep.

    Args:
        root: the folder.
        settled: whether a path is that behind the links, so that it stays the same file when a link leads elsewhere.

    Raises:
        ConfigurationError: `root` is no folder, or can not be read; or there is no free file descriptor for what is in
            it.
    """
    if not root.is_dir():
        raise ConfigurationError(
            f"There is no folder {root}. Set FOVEAL_MODELS to one that holds <name>/<version>/{MODEL_FILE}."
        )
    try:
        return _scan(root, settled=settled)
    except OSError as error:  # to serve nothing would be worse than to go on
        do = "Try again in a moment" if shortage_of(error) else "Set FOVEAL_MODELS to one that can"
        raise ConfigurationError(
            f"The folder {root} can not be read: {error.strerror or error}. {do}."
        ) from error


def _scan(root: Path, *, settled: bool) -> tuple[tuple[Servable, ...], tuple[Refusal, ...]]:
    servables: list[Servable] = []
    folders, refusals = _version_folders(root)
    for path in sorted(folder / MODEL_FILE for folder in folders):
        try:
            path.lstat()  # of a link itself: one that leads nowhere is refused, not ignored
        except (FileNotFoundError, NotADirectoryError):
            name, folder = path.parent.parent.name, path.parent
            is_named = MODEL_NAME.fullmatch(name) and is_version(folder.name)
            if is_named and _leads_nowhere(folder):
                refusals.append(Refusal(name, path, f"{path}: its folder {_NOWHERE}"))
            continue
        except OSError:
            pass  # opening it says why
        if settled:
            path = path.resolve()  # noqa: PLW2901
        try:
            servable = _servable(path)
            with interrupted(path.parent) as ended:
                if ended:
                    reason = f"{path}: {INTERRUPTED}"
                    refusals.append(Refusal(servable.name, path, reason, has_answered=False))
                else:
                    servables.append(servable)
        except (CardError, OSError) as error:
            if shortage_of(error):
                raise
            message = str(error)
            if isinstance(error, OSError):
                message = f"it can not be read: {error.strerror or error}"
            reason = message if str(path) in message else f"{path}: {message}"
            # A folder's name may hold line ends, or bytes that are no text: no answer and no log line could carry it.
            refusals.append(Refusal(printable(path.parent.parent.name), path, printable(reason)))
    return tuple(sorted(servables, key=lambda one: (one.name, one.version))), tuple(refusals)


def _version_folders(root: Path) -> tuple[list[Path], list[Refusal]]:
    """Return what is in the folders of the models, and the refusals of those that can not be read.

    Raises:
        OSError: `root` can not be read, or the process has no free file descriptor or no memory.
    """
    folders: list[Path] = []
    refusals: list[Refusal] = []
    for model in _visible(root):
        try:
            folders += _visible(model)
        except (FileNotFoundError, NotADirectoryError):
            if _leads_nowhere(model) and MODEL_NAME.fullmatch(model.name):
                refusals.append(Refusal(model.name, any_version(model), f"{model} {_NOWHERE}"))
            continue
        except OSError as error:
            if shortage_of(error):
                raise
            if MODEL_NAME.fullmatch(model.name):  # others, such as `lost+found`, hold no model
                why = f"the folder {model} can not be read: {error.strerror or error}"
                refusals.append(Refusal(model.name, any_version(model), why))
    return folders, refusals


def _leads_nowhere(path: Path) -> bool:
    """Return whether it is a link to what is not there."""
    return path.is_symlink() and not path.exists()


def any_version(model: Path) -> Path:
    """Return what stands for the files of all versions of a model whose folder can not be read."""
    return model / "*" / MODEL_FILE


def entries_of(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden; nothing where it is no folder, or has just been removed.

    Raises:
        OSError: the process has no free file descriptor, or no memory.
    """
    try:
        return _visible(folder)
    except OSError as error:
        if shortage_of(error):
            raise
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
        raise CardError(
            f"{path}: {version!r} is not a version; use a positive whole number that does not begin with 0"
        )
    card = read_card(path)
    return Servable(name, int(version), path, card, tuple(_beside(path)))


def _beside(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the files from which a variant of a servable can be made: its variants, and the frames that prove them."""
    for name in (*(f"{precision}.onnx" for precision in get_args(Precision)), REFERENCE_FILE):
        try:
            status = path.with_name(name).stat()
        except OSError:
            continue
        yield name, status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
