"""Code of the user's own: where it is found, and how messages describe its errors."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from exporter.errors import GraphError, SourceError, WeightsError
from exporter.recipe import Recipe

_LONGEST = 300
_INSTALLED = {"site-packages", "dist-packages"}
_EXPORTER = Path(__file__).parents[1]
_TRAININGS = _EXPORTER / "training"


def reason(error: BaseException) -> str:
    """Return an error in one line: its kind, unless its words say it, and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0][:_LONGEST] if lines else ""
    kind = type(error).__name__
    return f"{kind}: {first}" if first else kind


def place_of(error: BaseException, folders: tuple[Path, ...]) -> str:
    """Return the file and line of the user's own code at which an error arose, in brackets; empty if nowhere there."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if _is_own(Path(f.filename), folders)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def described(error: BaseException, folders: tuple[Path, ...]) -> str:
    """Return an error in one line, with the place in the user's own code at which it arose, once."""
    words, place = reason(error), place_of(error, folders)
    return words if place.strip() in words else f"{words.rstrip('.')}{place}"


def _is_own(file: Path, folders: tuple[Path, ...]) -> bool:
    """Return whether a file is in one of these folders, and neither the exporter's nor in an environment there."""
    is_exporter = file.is_relative_to(_EXPORTER) and not file.is_relative_to(_TRAININGS)
    is_foreign = is_exporter or not _INSTALLED.isdisjoint(file.parts)
    return not is_foreign and any(file.is_relative_to(one) for one in folders)


@contextmanager
def source_named(source: str, folders: tuple[Path, ...]) -> Iterator[None]:
    """Let errors of a network begin with its source, and with the line of the user's own code that raised them.

    Args:
        source: as `python:package.module:callable`.
        folders: of the user's own code.
    """
    try:
        yield
    except (GraphError, WeightsError) as error:
        if source in str(error):
            raise
        place = place_of(error.__cause__, folders) if error.__cause__ is not None else ""
        if place.strip(" ()") in str(error):
            place = ""
        raise type(error)(f"{source}{place}: {error}") from error


def code_folders(recipe: Recipe) -> tuple[Path, ...]:
    """Return the folders in which modules are looked for: those of the recipe, then the working folder."""
    stated = [recipe.folder / recipe.code] if recipe.code is not None else []
    return tuple(dict.fromkeys(one.resolve() for one in (*stated, recipe.folder, Path())))


@contextmanager
def importable(folders: tuple[Path, ...]) -> Iterator[None]:
    """Let the modules in some folders be imported, before installed ones of the same names."""
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        yield
    finally:
        sys.path[:] = before


def find(where: str, recipe: Recipe, source: str = "python") -> Any:  # noqa: ANN401 - whatever the user's module holds
    """Return the object that `package.module:name` names; the module may be in the recipe's or the working folder.

    Args:
        where: `package.module:name`.
        recipe: says in which folders to look.
        source: the kind of source, for messages.

    Raises:
        SourceError: there is no such object, or its module can not be imported.
    """
    module_name, _, attribute = where.partition(":")
    if not module_name or not attribute:
        raise SourceError(f"{source}:{where}: write {source}:package.module:callable")
    folders = code_folders(recipe)
    try:
        with importable(folders):
            module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise SourceError(_no_module(source, where, module_name, error, folders)) from error
    # A module of the user's own raises anything, and ends with SystemExit where it is meant to be run.
    except (Exception, SystemExit) as error:
        raise SourceError(
            f"{source}:{where}: {module_name} can not be imported: {described(error, folders)}"
        ) from error
    try:
        return reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        path = getattr(module, "__file__", None) or "Python itself"
        raise SourceError(
            f"{source}:{where}: {module_name} ({path}) has no {attribute}. "
            "If that is another module than yours, give yours another name"
        ) from error


def _as_module(file: Path) -> tuple[str, Path]:
    """Return the name of the module in a file, with its packages, and the folder in which it is looked for."""
    name, folder = file.stem, file.parent
    while (folder / "__init__.py").is_file():
        name, folder = f"{folder.name}.{name}", folder.parent
    return name, folder


def _no_module(
    source: str,
    where: str,
    name: str,
    error: ModuleNotFoundError,
    folders: tuple[Path, ...],
) -> str:
    missing = error.name or name
    if name == missing or name.startswith(f"{missing}."):
        if name.endswith(".py") or "/" in name:
            known = [folder / name for folder in folders if (folder / name).is_file()]
            module, place = _as_module(known[0]) if known else (Path(name).stem, Path("FOLDER"))
            attribute = where.partition(":")[2]
            return (
                f"{source}:{where}: a source names a module, not its file. Give {source}:{module}:{attribute} "
                f"--code {place}"
            )
        looked = ", ".join(str(folder) for folder in folders)
        return f"{source}:{where}: there is no module {missing} in {looked}, and none is installed"
    return f"{source}:{where}: {name} needs the module {missing}, which is not installed. pip install {missing}"
