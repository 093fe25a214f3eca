"""A version of a place → a whole version in the cache, its digest checked before anything else reads it."""

import logging
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from service.card import CardError
from service.errors import StorageError, StorageFailure
from service.logs import LOGGER
from service.runtime.repository import MODEL_FILE
from service.servable_file import check_certificate, read_card
from service.storage.cache import CacheFullError, Entry, ModelCache
from service.storage.fetching import FULL, MAKE_ROOM, Clock, DiskFullError, FileFetch, Pace
from service.storage.file_system import FileGoneError, RemoteFiles
from service.storage.listing import RemoteVersion, with_sizes
from service.storage.lock_file import VERSION_FILES, Lock, Pin, differs, digests_in, version_digest
from service.storage_metrics import StorageMetrics

log = logging.getLogger(LOGGER)

DOWNLOADS = 2
"""How often files that are refused are fetched: once more, since they may have been damaged on their way."""
REPORT_SECONDS = 5.0
"""How often the log says how far a version has come."""


class RefusedVersionError(Exception):
    """One version can not be had; the others can.

    Args:
        message: says why.
        reason: the same for the metrics.
    """

    def __init__(self, message: str, reason: StorageFailure) -> None:
        super().__init__(message)
        self.reason = reason


class _WrongFilesError(CardError):
    """The files that came are not those that were wanted."""

    def __init__(self, message: str, reason: StorageFailure) -> None:
        super().__init__(message)
        self.reason = reason


class Bringing:
    """Brings versions of one place into the cache. All methods block.

    Args:
        files: the place.
        cache: where they go.
        pace: makes the limits for one version.
        metrics: where versions and bytes are counted.
    """

    def __init__(
        self,
        files: RemoteFiles,
        cache: ModelCache,
        pace: Callable[[], Pace],
        metrics: StorageMetrics,
    ) -> None:
        self._files = files
        self._cache = cache
        self._pace = pace
        self._metrics = metrics
        self._refused: dict[str, list[tuple[str, StorageFailure]]] = {}

    def bring(self, version: RemoteVersion, pin: Pin | None, lock: Lock | None) -> Entry:
        """Return a version, held in the cache; it is fetched where that does not have it.

        Args:
            version: as it is listed.
            pin: what it must be; None: what its card says.
            lock: where that is written.

        Raises:
            RefusedVersionError: it is not what is pinned, not what its own card says, not whole, or there is no room
                for it.
            StorageError: the place does not answer.
        """
        try:
            sized = with_sizes(self._files, version)
        except FileGoneError as error:
            raise _gone(error) from error
        fingerprint = sized.fingerprint(str(self._files.url))
        entry = self._cached(sized, fingerprint, pin, lock)
        if entry is not None:
            return entry
        refused = self._refused.get(fingerprint or "", [])
        if len(refused) >= DOWNLOADS:
            raise RefusedVersionError(*refused[-1])
        with self._cache.fetching(fingerprint or secrets.token_hex(32)) as folder:
            entry = self._cached(sized, fingerprint, pin, lock)  # another process has fetched it
            if entry is None:
                entry = self._fetch(sized, folder, fingerprint, pin, lock)
        if entry is None:
            raise RefusedVersionError(
                f"{sized.name}:{sized.version} was damaged in {self._cache.root}, and another process serves it, so "
                "that it can not be fetched again. End that process first.",
                "disk",
            )
        return entry

    def _cached(
        self, version: RemoteVersion, fingerprint: str | None, pin: Pin | None, lock: Lock | None
    ) -> Entry | None:
        digest = None if fingerprint is None else self._cache.known(fingerprint)
        if digest is None:
            return None
        if pin is not None and lock is not None and digest != pin.digest:
            raise RefusedVersionError(
                f"{version.name}:{version.version} in {self._files.url} has the digest {digest}, and {lock.path.name} "
                f"pins {pin.digest}. Put the pinned files back, or pin these with `foveal lock`.",
                "digest",
            )
        entry = self._cache.take(version.name, version.version, digest)
        if entry is not None:
            self._metrics.took("cached")
        return entry

    def _fetch(
        self,
        version: RemoteVersion,
        folder: Path,
        fingerprint: str | None,
        pin: Pin | None,
        lock: Lock | None,
    ) -> Entry | None:
        """Fetch a version, and return it; None where the cache has it damaged and can not replace it."""
        named, began = f"{version.name}:{version.version}", time.perf_counter()
        try:
            self._cache.reserve(folder, version.size_bytes, named)
            _require_room(folder, version.size_bytes)
            self._fetch_files(version, folder)
            self._require_unchanged(version, fingerprint)
            digests = digests_in(folder)
            if fingerprint is not None:
                self._cache.remember(fingerprint, version_digest(digests))
            if pin is not None and lock is not None:
                reason = differs(pin, digests, lock.path, str(self._files.url))
                if reason is not None:
                    raise _WrongFilesError(reason, "digest")
            path = folder / MODEL_FILE
            check_certificate(path, read_card(path))
            entry = self._cache.keep(folder, version.name, version.version, digests)
        except CardError as error:
            self._cache.discard(folder)
            place = f"{self._files.url}/{version.folder}"
            reason = str(error).replace(str(folder), place)
            reason = reason if place in reason else f"{place}/{MODEL_FILE}: {reason}"
            why: StorageFailure = error.reason if isinstance(error, _WrongFilesError) else "invalid"
            if fingerprint is not None:
                self._refused.setdefault(fingerprint, []).append((reason, why))
            raise RefusedVersionError(reason, why) from error
        except (CacheFullError, DiskFullError) as error:
            self._cache.discard(folder)
            full: StorageFailure = "disk_full" if isinstance(error, DiskFullError) else "cache_full"
            raise RefusedVersionError(f"{named} is not fetched: {error}", full) from error
        except FileGoneError as error:
            raise _gone(error) from error
        except OSError as error:
            raise self._not_written(named, folder, error) from error
        if entry is not None:
            self._metrics.took("fetched")
            self._metrics.fetch_seconds.observe(time.perf_counter() - began)
        return entry

    def _not_written(
        self, named: str, folder: Path, error: OSError
    ) -> RefusedVersionError | StorageError:
        """Return the error of a disk that is full, which keeps nothing of a version, or that can not be written."""
        reason = error.strerror or str(error)
        if error.errno not in FULL:
            return StorageError(f"{self._cache.root} can not be used: {reason}.", "disk")
        self._cache.discard(folder)
        return RefusedVersionError(
            f"{named} is not fetched: {self._cache.root} has no room: {reason}. {MAKE_ROOM}",
            "disk_full",
        )

    def _fetch_files(self, version: RemoteVersion, folder: Path) -> None:
        named = f"{version.name}:{version.version}"
        pace = self._pace()
        progress = _Progress(f"{named} from {self._files.url}", version.size_bytes, pace.clock)
        began = sum(one.stat().st_size for one in folder.iterdir() if one.name in VERSION_FILES)
        progress(began)
        log.info(
            "fetching %s: %s%s",
            progress.what,
            _mega(version.size_bytes),
            f", of which {_mega(began)} are here from before" if began else "",
        )

        def came(count: int) -> None:
            progress(count)
            if count > 0:  # a file that begins again takes back what had come of it
                self._metrics.fetched_bytes.inc(count)

        for file in version.files:
            path = f"{version.folder}/{file.name}"
            target = folder / file.name
            FileFetch(self._files, path, file.size or 0, target, pace, came).run()

    def _require_unchanged(self, version: RemoteVersion, fingerprint: str | None) -> None:
        """Refuse a version whose files were replaced while they came: they would be of two."""
        asked = replace(version, files=tuple(replace(one, size=None) for one in version.files))
        now = with_sizes(self._files, asked).fingerprint(str(self._files.url))
        if now != fingerprint:
            raise _WrongFilesError(
                f"{version.name}:{version.version} was changed in {self._files.url} while it was fetched. Reload when "
                "its upload has ended.",
                "changed",
            )


def _gone(error: FileGoneError) -> RefusedVersionError:
    return RefusedVersionError(f"{error}. Is it being uploaded or removed?", "gone")


def _require_room(folder: Path, size_bytes: int) -> None:
    """Refuse what the disk has no room for, before it fills."""
    missing = size_bytes - sum(one.stat().st_size for one in folder.iterdir())
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise DiskFullError(
            f"{folder.parent} has {_mega(free)} left, and {_mega(missing)} are to come. {MAKE_ROOM}"
        )


class _Progress:
    """Logs how far a version has come."""

    def __init__(self, what: str, size_bytes: int, clock: Clock) -> None:
        self.what = what
        self._size = size_bytes
        self._clock = clock
        self._came = 0
        self._began = self._reported = clock()

    def __call__(self, count: int) -> None:
        self._came += count
        now = self._clock()
        if now - self._reported < REPORT_SECONDS:
            return
        rate = self._came / (now - self._began)
        self._reported = now
        log.info(
            "fetching %s: %d %% of %s, %s a second",
            self.what,
            100 * self._came // max(1, self._size),
            _mega(self._size),
            _mega(int(rate)),
        )


def _mega(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
