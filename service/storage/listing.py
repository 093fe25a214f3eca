"""What lies at a place of models: which versions of which models, with which files; nothing else is ever fetched."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from service.chains.repository import CHAIN_FILE
from service.chains.repository import MOST_BYTES as MOST_CHAIN_BYTES
from service.errors import StorageError
from service.logs import LOGGER, printable
from service.runtime.fleet import FLEET_FILE, MODEL_NAME, is_version
from service.runtime.repository import MODEL_FILE
from service.storage.file_system import FileGoneError, RemoteFile, RemoteFiles
from service.storage.lock_file import VERSION_FILES, Lock, Pin
from service.toml_file import MOST_BYTES as MOST_TOML_BYTES

log = logging.getLogger(LOGGER)

MOST_ENTRIES = 10_000
"""Models, and again versions, at one place."""


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A version at a place.

    Attributes:
        name, version: of the model.
        files: by name, of which one is `model.onnx`; each has its size.
    """

    name: str
    version: int
    files: tuple[RemoteFile, ...]

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.version

    @property
    def size_bytes(self) -> int:
        return sum(file.size or 0 for file in self.files)

    @property
    def folder(self) -> str:
        """Where it lies at the place."""
        return f"{self.name}/{self.version}"

    def fingerprint(self, place: str) -> str | None:
        """Return what changes when a file changes, without reading it; None where the place does not say."""
        if not all(file.validator for file in self.files):
            return None
        parts = [(file.name, file.size, file.validator) for file in self.files]
        text = json.dumps([place, self.name, self.version, parts])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies at a place.

    Attributes:
        versions: of all models, by name and ascending version.
        texts: the content of `foveal.toml` and of each `<name>/chain.toml`, by its path.
    """

    versions: tuple[RemoteVersion, ...]
    texts: Mapping[str, bytes]


def list_place(files: RemoteFiles, lock: Lock | None) -> Listing:
    """Return what lies at a place. Files whose sizes a listing does not have are still without; see `with_sizes`.

    Args:
        files: the place.
        lock: where the place gives no listings, it is asked for what is pinned here.

    Raises:
        StorageError: the place does not answer, or has too much.
    """
    try:
        return _listed(files)
    except (FileGoneError, StorageError) as error:
        if lock is None or not lock.pins:
            if isinstance(error, FileGoneError):
                raise StorageError(_nothing_there(files), "gone") from error
            raise
        log.info(
            "%s gives no listing (%s); what %s pins is looked for", files.url, error, lock.path
        )
        return _pinned(files, lock)


def _nothing_there(files: RemoteFiles) -> str:
    listing = ""
    if files.url.is_web:
        listing = (
            " The server must answer with a page of links to what lies in the folder; or let FOVEAL_MODELS_LOCK name "
            "what to fetch."
        )
    return f"There is nothing at {files.url}. Set FOVEAL_MODELS to a place of <name>/<version>/{MODEL_FILE}.{listing}"


def _listed(files: RemoteFiles) -> Listing:
    texts: dict[str, bytes] = {}
    versions: list[RemoteVersion | None] = []
    top = files.children()
    if not top:
        raise FileGoneError(f"{files.url} is empty")
    _require_few(files, top)
    if any(one.name == FLEET_FILE and not one.is_folder for one in top):
        texts |= _text(files, FLEET_FILE, MOST_TOML_BYTES)
    for model in top:
        is_hidden = model.name.startswith(".") and model.name.strip(".")
        if not model.is_folder or is_hidden:
            continue
        if not MODEL_NAME.fullmatch(model.name):
            log.warning(
                "%s lists %r, which can not name a model; nothing of it is fetched",
                files.url,
                printable(model.name[:200]),
            )
            continue
        inside = _children(files, model.name)
        _require_few(files, [*versions, *inside])
        if any(one.name == CHAIN_FILE and not one.is_folder for one in inside):
            texts |= _text(files, f"{model.name}/{CHAIN_FILE}", MOST_CHAIN_BYTES)
        versions += [
            _version(files, model.name, int(folder.name))
            for folder in inside
            if _is_version_folder(folder)
        ]
    found = [one for one in versions if one is not None]
    return Listing(tuple(sorted(found, key=lambda one: one.key)), texts)


def list_versions(files: RemoteFiles, name: str, version: int | None) -> list[RemoteVersion]:
    """Return the versions of one model at a place, ascending; of one version only where it is given.

    Args:
        files: the place.
        name: of the model.
        version: None: all.

    Raises:
        StorageError: the place does not answer, or the name can not be one.
    """
    if not MODEL_NAME.fullmatch(name):
        raise StorageError(f"{printable(name[:80])!r} can not name a model.")
    if version is not None:
        found = [_version(files, name, version)]
    else:
        inside = _children(files, name)
        _require_few(files, inside)
        numbers = sorted(int(one.name) for one in inside if _is_version_folder(one))
        found = [_version(files, name, number) for number in numbers]
    return [one for one in found if one is not None]


def _children(files: RemoteFiles, path: str) -> list[RemoteFile]:
    """Return what lies in a folder; nothing where it has gone since it was listed."""
    try:
        return files.children(path)
    except FileGoneError:
        return []


def _is_version_folder(found: RemoteFile) -> bool:
    return found.is_folder and is_version(found.name) and not found.name.startswith("0")


def _version(files: RemoteFiles, name: str, version: int) -> RemoteVersion | None:
    inside = {one.name: one for one in _children(files, f"{name}/{version}") if not one.is_folder}
    if MODEL_FILE not in inside:
        return None
    return RemoteVersion(
        name, version, tuple(inside[one] for one in VERSION_FILES if one in inside)
    )


def _pinned(files: RemoteFiles, lock: Lock) -> Listing:
    """Return what is pinned and is there; the files themselves are looked at by `with_sizes`."""
    texts: dict[str, bytes] = {}
    names = {name for name, _ in lock.pins}
    for path, most in [
        (FLEET_FILE, MOST_TOML_BYTES),
        *((f"{name}/{CHAIN_FILE}", MOST_CHAIN_BYTES) for name in sorted(names)),
    ]:
        texts |= _text(files, path, most)
    pins = sorted(lock.pins.values(), key=lambda one: one.key)
    return Listing(tuple(map(pinned_version, pins)), texts)


def pinned_version(pin: Pin) -> RemoteVersion:
    """Return where a version that is pinned must lie; its files have no sizes yet."""
    files = tuple(RemoteFile(name) for name in VERSION_FILES if name in pin.files)
    return RemoteVersion(pin.name, pin.version, files)


def with_sizes(files: RemoteFiles, version: RemoteVersion) -> RemoteVersion:
    """Return a version whose files have their sizes, and what changes with them; blocking.

    Raises:
        FileGoneError: one is not there.
        StorageError: the place does not answer, or does not say how large a file is.
    """
    found = []
    for file in version.files:
        if file.size is None:
            told = files.stat(f"{version.folder}/{file.name}")
            file = replace(told, name=file.name)  # noqa: PLW2901
        if file.size is None:
            raise StorageError(
                f"{files.url}/{version.folder}/{file.name}: the server does not say how large it is (Content-Length)."
            )
        found.append(file)
    return replace(version, files=tuple(found))


def _text(files: RemoteFiles, path: str, most_bytes: int) -> dict[str, bytes]:
    try:
        return {path: files.read_small(path, most_bytes)}
    except FileGoneError:
        return {}


def _require_few(files: RemoteFiles, found: Iterable[object]) -> None:
    count = sum(1 for _ in found)
    if count > MOST_ENTRIES:
        raise StorageError(
            f"{files.url} has {count} entries, and a place of models {MOST_ENTRIES} at most. Is it the right folder?"
        )
