"""`foveal pull`: a version from a place elsewhere → a folder of models here, whole or not at all."""

import secrets
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from service.errors import ConfigurationError, InvalidParameterError, StorageError
from service.runtime.fleet import Selector, parse_selector
from service.storage.bringing import Bringing, RefusedVersionError
from service.storage.cache import Entry, ModelCache, alone
from service.storage.fetching import Pace
from service.storage.file_system import FileGoneError, RemoteFiles
from service.storage.listing import RemoteVersion, list_versions, pinned_version, with_sizes
from service.storage.lock_file import Lock, Pin, digests_in, version_digest
from service.storage_metrics import StorageMetrics

WORK_FOLDER = ".incoming-pull"
"""In the folder of the models, where nothing looks for models: what has come, and what is known of it."""
_ANY_SIZE = 1 << 62


class Puller:
    """Copies versions into a folder of models.

    Args:
        files: where they come from.
        folder: where they go; made when needed.
        lock: what pins them; None: nothing does.
        pace: makes the limits for one version.

    Raises:
        ConfigurationError: the folder can not be written.
    """

    def __init__(
        self, files: RemoteFiles, folder: Path, lock: Lock | None, pace: Callable[[], Pace]
    ) -> None:
        self._files = files
        self._folder = folder
        self._lock = lock
        self._cache = ModelCache(folder / WORK_FOLDER, _ANY_SIZE)
        self._bringing = Bringing(files, self._cache, pace, StorageMetrics())

    def pull(self, selector: str) -> str:
        """Copy a version, and return what came of it, for people; blocking.

        Args:
            selector: `name`, which is its newest version there, or `name:version`.

        Raises:
            ConfigurationError: there is no such version, it can not be had, or another lies here already.
        """
        wanted = _parse(selector)
        pin = None if self._lock is None else _pinned(wanted, self._lock)
        try:
            with alone(self._cache.root / "pull.lock"), closing(self._cache):
                return self._pull(wanted, pin)
        except RefusedVersionError as error:
            raise StorageError(str(error), error.reason) from error
        except OSError as error:
            raise StorageError(
                f"{error.filename or self._folder} can not be used: {error.strerror or error}.",
                "disk",
            ) from error

    def _pull(self, wanted: Selector, pin: Pin | None) -> str:
        version = self._find(wanted) if pin is None else pinned_version(pin)
        place = self._folder / version.folder
        if place.exists():
            return self._present(version, place)
        entry = self._bringing.bring(version, pin, self._lock)
        self._move(entry, place)
        self._cache.drop(entry)
        return f"{version.name}:{version.version} is in {place} with the digest {entry.digest}"

    def _find(self, wanted: Selector) -> RemoteVersion:
        there = list_versions(self._files, wanted.name, wanted.version)
        if not there:
            version = "" if wanted.version is None else f" version {wanted.version}"
            raise StorageError(f"{self._files.url} has no {wanted.name}{version}.")
        return there[-1]

    def _present(self, version: RemoteVersion, place: Path) -> str:
        """Return what is said of a version that lies here already.

        Raises:
            StorageError: it is another one, or may be.
        """
        named = f"{version.name}:{version.version}"
        here = version_digest(digests_in(place))
        try:
            fingerprint = with_sizes(self._files, version).fingerprint(str(self._files.url))
        except FileGoneError as error:
            raise StorageError(str(error)) from error
        there = None if fingerprint is None else self._cache.known(fingerprint)
        if there == here:
            return f"{named} is in {place} already, with the digest {here}"
        digest = "another or an unknown digest" if there is None else f"the digest {there}"
        raise StorageError(
            f"{place} is there already with the digest {here}, and {named} in {self._files.url} has {digest}. The file "
            "of a version is never replaced: remove the folder to pull it again."
        )

    def _move(self, entry: Entry, place: Path) -> None:
        """Let a version that has come lie in its place."""
        draft = self._cache.root / f"{secrets.token_hex(8)}.moving"
        try:
            entry.folder.rename(draft)
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.rename(place)
        except OSError as error:
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
