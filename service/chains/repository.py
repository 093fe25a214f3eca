"""The chains on disk: `<name>/chain.toml` beside the models."""

from collections.abc import Collection, Mapping
from pathlib import Path

from service.chains.definition import Chain, parse_chain
from service.errors import ConfigurationError
from service.logs import printable
from service.runtime.fleet import MODEL_NAME
from service.runtime.repository import Refusal, entries_of
from service.tasks.task import Task
from service.toml_file import read_text

CHAIN_FILE = "chain.toml"
MOST_BYTES = 64 * 1024


def scan_chains(
    root: Path, tasks: Mapping[str, Task], taken: Collection[str], known: Collection[str] = ()
) -> tuple[dict[str, Chain], tuple[Refusal, ...]]:
    """Return the chains in `root/<name>/chain.toml` by name, and the files that are none, with the reason.

    Args:
        root: the model repository.
        tasks: what steps may do.
        taken: the names of the models, which no chain may have.
        known: the names of the chains before: such a folder that can not be reached now is refused, not ignored.

    Raises:
        ConfigurationError: the process has no free file descriptor, or no memory, to look into the folder.
    """
    try:
        folders = entries_of(root)
    except OSError as error:
        raise ConfigurationError(
            f"The chains in {root} can not be read: {error.strerror or error}."
        ) from error
    chains: dict[str, Chain] = {}
    refusals = []
    for path in sorted(folder / CHAIN_FILE for folder in folders):
        name = path.parent.name
        if not _is_there(path, or_else=name in known):
            continue
        try:
            chains[name] = _read(path, tasks, taken)
        except ConfigurationError as error:
            reason = printable(f"{path}: {error}")
            refusals.append(Refusal(printable(name), path, reason))
    return chains, tuple(refusals)


def _is_there(path: Path, *, or_else: bool) -> bool:
    """Return whether a file or a link is there, also one that leads nowhere; `or_else` where that can not be known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return or_else
    return True


def _read(path: Path, tasks: Mapping[str, Task], taken: Collection[str]) -> Chain:
    name = path.parent.name
    if not MODEL_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} can not name a chain; use a-z, 0-9 and . _ - after the first"
        )
    if name in taken:
        raise ConfigurationError(
            f"{name} is the name of a model; put the chain into another folder"
        )
    try:
        text = read_text(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise ConfigurationError("it is a link that leads nowhere") from error
    return parse_chain(name, text, tasks)
