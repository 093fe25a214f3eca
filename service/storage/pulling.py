"""`foveal pull`: a version from a place elsewhere → a folder of models here, whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from service.errors import ConfigurationError, InvalidParameterError, StorageError
from service.runtime.fleet import Selector, parse_selector
from service.runtime.repository import MODEL_FILE, Servable
from service.runtime.variants import unusable_variants
from service.servable_file import read_card
from service.storage.bringing import Bringing, RefusedVersionError
from service.storage.cache import Entry, ModelCache, alone
from service.storage.fetching import Pace
from service.storage.file_system import FileGoneError, RemoteFiles
from service.storage.listing import RemoteVersion, list_versions, pinned_version, with_sizes
from service.storage.lock_file import VERSION_FILES, Lock, Pin, digests_in, version_digest
from service.storage_metrics import StorageMetrics

WORK_FOLDER = ".incoming-pull"
"""In the folder of the models, where nothing looks for models: what has come, and what is known of it.

It is removed where it holds neither.
"""
_ANY_SIZE = 1 << 62


class Puller:
    """Copies versions into a folder of models.

    Args:
        files: where they come from.
        folder: where they go; made when needed.
        lock: what pins them; None: nothing does.
        pace: makes the limits for one version.
    """

    def __init__(
        self, files: RemoteFiles, folder: Path, lock: Lock | None, pace: Callable[[], Pace]
    ) -> None:
        self._files = files
        self._folder = folder
        self._lock = lock
        self._pace = pace

    def pull(self, selector: str) -> str:
        """Copy a version, and return what came of it, for people; blocking.

        Args:
            selector: `name`, which is its newest version there, or `name:version`.

        Raises:
            ConfigurationError: there is no such version, it can not be had, another lies here already, or the folder
                can not be written.
        """
        wanted = _parse(selector)
        pin = None if self._lock is None else _pinned(wanted, self._lock)
        try:
            with _working(self._folder / WORK_FOLDER) as cache:
                return self._pull(wanted, pin, cache)
        except RefusedVersionError as error:
            raise StorageError(str(error), error.reason) from error
        except OSError as error:
            raise StorageError(
                f"{error.filename or self._folder} can not be used: {error.strerror or error}.",
                "disk",
            ) from error

    def _pull(self, wanted: Selector, pin: Pin | None, cache: ModelCache) -> str:
        version = self._find(wanted) if pin is None else pinned_version(pin)
        place = self._folder / version.folder
        bringing = Bringing(self._files, cache, self._pace, StorageMetrics())
        if place.exists():
            return self._present(version, place, cache, lambda: bringing.bring(version, None, None))
        entry = bringing.bring(version, pin, self._lock)
        _move(entry, place, cache)
        cache.drop(entry)
        servable = Servable(
            version.name, version.version, place / MODEL_FILE, read_card(place / MODEL_FILE)
        )
        faults = "".join(f", but {fault}" for fault in unusable_variants(servable))
        return (
            f"{version.name}:{version.version} is in {place} with the digest {entry.digest}{faults}"
        )

    def _find(self, wanted: Selector) -> RemoteVersion:
        there = list_versions(self._files, wanted.name, wanted.version)
        if not there:
            self._require_place()
            version = "" if wanted.version is None else f" version {wanted.version}"
            raise StorageError(f"{self._files.url} has no {wanted.name}{version}.")
        return there[-1]

    def _require_place(self) -> None:
        """Check that there is something at the place at all; one that refuses to be listed counts as there.

        Raises:
            StorageError: there is nothing.
        """
        try:
            with suppress(StorageError):
                self._files.children()
        except FileGoneError as error:
            listing = (
                ", or its server gives no page of links to what lies there"
                if self._files.url.is_web
                else ""
            )
            raise StorageError(
                f"There is nothing at {self._files.url}{listing}. Let --from name the bucket and the folder of the "
                "models.",
                "gone",
            ) from error

    def _present(
        self, version: RemoteVersion, place: Path, cache: ModelCache, fetched: Callable[[], Entry]
    ) -> str:
        """Return what is said of a version that lies here already; where nothing is known of the other, it is fetched.

        Raises:
            StorageError: it is another one.
            RefusedVersionError: it must be fetched to be compared, and can not be.
        """
        named = f"{version.name}:{version.version}"
        here = version_digest(digests_in(place))
        try:
            fingerprint = with_sizes(self._files, version).fingerprint(str(self._files.url))
        except FileGoneError as error:
            raise StorageError(str(error)) from error
        there = None if fingerprint is None else cache.known(fingerprint)
        if there is None:
            entry = fetched()
            there = entry.digest
            cache.drop(entry)
        if there == here:
            return f"{named} is in {place} already, with the digest {here}"
        raise StorageError(
            f"{place} is there already with the digest {here}, and {named} in {self._files.url} has the digest "
            f"{there}. The file of a version is never replaced: remove the folder to pull it again."
        )


@contextmanager
def _working(root: Path) -> Iterator[ModelCache]:
    """Let one process after the other work in a folder, which is made, and removed when nothing of use is in it.

    So are the folders around it that were made for it, where nothing has come into them.

    Raises:
        StorageError: it can not be made.
    """
    around = [one for one in root.parents if not os.path.lexists(one)]
    with ExitStack() as stack:
        stack.callback(_remove_empty, *around)
        while not _entered(root / "pull.lock", stack):
            pass  # the process before has removed the folder
        stack.callback(_tidy, root)
        yield stack.enter_context(closing(ModelCache(root, _ANY_SIZE)))


def _entered(lock: Path, stack: ExitStack) -> bool:
    """Wait for a lock, and return whether its file is still the one that others find."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{lock.parent} can not be made: {error.strerror or error}. Let --models of foveal pull name a folder for "
            "the models.",
            "disk",
        ) from error
    with suppress(FileNotFoundError), ExitStack() as attempt:
        file = attempt.enter_context(alone(lock))
        if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            stack.push(attempt.pop_all())
            return True
    return False


def _tidy(root: Path) -> None:
    """Remove the folder unless a part of a version is in it, or what is known of one; nobody else is in it."""
    with suppress(OSError):
        parts = [one for one in (root / "incoming").iterdir() if one.is_dir() and _has_part(one)]
        if not any((*parts, *(root / "entries").iterdir(), *(root / "seen").iterdir())):
            shutil.rmtree(root)


def _has_part(incoming: Path) -> bool:
    return any(one.name in VERSION_FILES and one.stat().st_size for one in incoming.iterdir())


def _remove_empty(*folders: Path) -> None:
    """Remove those of the folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _move(entry: Entry, place: Path, cache: ModelCache) -> None:
    """Let a version that has come lie in its place."""
    draft = cache.root / f"{secrets.token_hex(8)}.moving"
    try:
        entry.folder.rename(draft)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(place)
    except OSError as error:
        _remove_empty(place.parent)
        raise StorageError(f"{place} can not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _pinned(wanted: Selector, lock: Lock) -> Pin:
    pins = [
        pin
        for (name, version), pin in lock.pins.items()
        if name == wanted.name and wanted.version in {None, version}
    ]
    if not pins:
        raise ConfigurationError(f"{wanted} is not pinned in {lock.path}.")
    return max(pins, key=lambda one: one.version)


def _parse(selector: str) -> Selector:
    try:
        found = parse_selector(selector)
    except InvalidParameterError as error:
        raise ConfigurationError(f"{error}.") from error
    if found.alias is not None:
        raise ConfigurationError(
            f"{selector}: an alias can not be pulled; write NAME or NAME:VERSION."
        )
    return found
