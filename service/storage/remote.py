"""Models at a place elsewhere: fetched into the cache of this machine, and shown as a folder of links to it."""

import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.errors import StorageError
from service.logs import LOGGER, printable
from service.runtime.fleet import read_fleet
from service.runtime.repository import MODEL_FILE, Refusal, scan_repository
from service.storage.bringing import Bringing, RefusedVersionError
from service.storage.cache import Entry, ModelCache, tolerant
from service.storage.file_system import RemoteFiles
from service.storage.folder import not_pinned, not_there
from service.storage.listing import Listing, RemoteVersion, list_place
from service.storage.lock_file import Lock, digests_in, read_lock, version_digest
from service.storage.looks import Look, read_look, write_look
from service.storage.storage import Found, Key
from service.storage.wanted_versions import wanted_versions
from service.storage_metrics import StorageMetrics

log = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a look has found: whole versions, what else is read, and what can not be served."""

    entries: Mapping[Key, Entry]
    texts: Mapping[str, bytes]
    refusals: Mapping[Key, str]


class RemoteStorage:
    """Models at a place elsewhere.

    Args:
        files: the place.
        cache: where versions are kept here.
        bringing: fetches one.
        metrics: where looks are counted.
        lock: the lock file; None: nothing is pinned.
        always: versions that are wanted whatever `foveal.toml` says.

    Raises:
        ConfigurationError: the cache can not be written.
    """

    is_folder = False

    def __init__(
        self,
        files: RemoteFiles,
        cache: ModelCache,
        bringing: Bringing,
        metrics: StorageMetrics,
        *,
        lock: Path | None = None,
        always: Collection[Key] = (),
    ) -> None:
        self._files = files
        self._cache = cache
        self._bringing = bringing
        self._metrics = metrics
        self._lock_path = lock
        self._always = frozenset(always)
        self._refusals: tuple[Refusal, ...] = ()
        self._verified: set[str] = set()
        self._looks = 0
        self._stack = ExitStack()
        try:
            self._view = self._stack.enter_context(cache.view())
        except OSError as error:
            raise StorageError(
                f"{cache.root} can not be written: {error.strerror or error}."
            ) from error
        self.folder = self._view / "current"

    @property
    def name(self) -> str:
        return str(self._files.url)

    def refresh(self, in_use: Collection[Path] = (), also: Collection[Key] = ()) -> None:
        """Look at the place again, and fetch what is new there; see `ModelStorage`.

        At the first time, what the cache has of the place takes its part where it can not be reached.
        """
        lock = None if self._lock_path is None else read_lock(self._lock_path)
        served = {_key_of(path): path for path in in_use}
        try:
            with self._counted():
                self._show(self._look(lock, {*self._always, *also}), served)
        except StorageError as error:
            if self._looks:
                raise
            with self._used():
                self._show(self._without_place(lock, error), served)

    def scan(self) -> Found:
        """Return what can be served; see `ModelStorage`."""
        servables, refusals = scan_repository(self.folder, settled=True)
        return servables, refusals + self._refusals

    def close(self) -> None:
        """Let everything go: other processes may remove it from the cache."""
        self._stack.close()
        self._cache.release(set())

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a look, and what the cache has after it.

        Raises:
            StorageError: the look failed.
        """
        try:
            with self._used():
                yield
        except StorageError as error:
            self._metrics.reachable.set(0)
            self._metrics.failed(error.reason)
            raise
        else:
            self._metrics.reachable.set(1)
        finally:
            with tolerant(self._cache.root):
                self._metrics.cache_bytes.set(self._cache.whole_bytes())

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Let what the disk of the cache refuses be an error of ours.

        Raises:
            StorageError: it can not be read or written.
        """
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._cache.root} can not be used: {error.strerror or error}.", "disk"
            ) from error

    def _look(self, lock: Lock | None, also: Collection[Key]) -> _Shown:
        listing = list_place(self._files, lock)
        draft = self._draft(listing.texts)
        fleet = read_fleet(draft)
        entries: dict[Key, Entry] = {}
        refusals: dict[Key, str] = {}
        for versions, count in wanted_versions(listing.versions, fleet, also):
            good = 0
            for version in versions:
                if good == count:
                    break
                if version.key not in entries | refusals:
                    self._bring(version, lock, entries, refusals)
                good += version.key in entries
        if lock is not None:
            self._add_missing(lock, listing, entries, refusals)
        digests = {key: entry.digest for key, entry in entries.items()}
        write_look(self._cache, Look(self.name, digests, listing.texts))
        return _Shown(entries, listing.texts, refusals)

    def _bring(
        self,
        version: RemoteVersion,
        lock: Lock | None,
        entries: dict[Key, Entry],
        refusals: dict[Key, str],
    ) -> None:
        """Add a version to what can be served, or to what can not."""
        key = version.key
        pin = None if lock is None else lock.pins.get(key)
        if lock is not None and pin is None:
            refusals[key] = not_pinned(*key, lock)
            return
        try:
            entry = self._bringing.bring(version, pin, lock)
            if pin is not None and not self._is_intact(entry):
                self._cache.drop(entry)
                entry = self._bringing.bring(version, pin, lock)
                if not self._is_intact(entry):
                    raise RefusedVersionError(
                        f"{entry.folder} was changed in the cache, and another process serves it, so that it can not "
                        "be fetched again. End that process first.",
                        "disk",
                    )
            entries[key] = entry
        except RefusedVersionError as error:
            refusals[key] = printable(str(error))
            self._metrics.failed(error.reason)
            kept = None if pin is None else self._cache.take(*key, pin.digest)
            if kept is not None and self._is_intact(kept):
                log.error("%s:%d is served from the cache, as it is pinned", *key)
                self._metrics.took("kept")
                entries[key] = kept

    def _add_missing(
        self,
        lock: Lock,
        listing: Listing,
        entries: dict[Key, Entry],
        refusals: dict[Key, str],
    ) -> None:
        """Refuse what is pinned and does not lie there; where the cache has it, it is served."""
        there = {one.key for one in listing.versions}
        for key, pin in lock.pins.items():
            if key in there:
                continue
            kept = self._cache.take(*key, pin.digest)
            if kept is not None and self._is_intact(kept):
                log.error("%s It is served from the cache.", not_there(pin, lock, self.name))
                self._metrics.took("kept")
                entries[key] = kept
            else:
                refusals[key] = not_there(pin, lock, self.name)

    def _is_intact(self, entry: Entry) -> bool:
        """Return whether the files in the cache still have their digest; each is read once."""
        if entry.key not in self._verified:
            if version_digest(digests_in(entry.folder)) != entry.digest:
                log.error("%s was changed in the cache and is not used", entry.folder)
                return False
            self._verified.add(entry.key)
        return True

    def _without_place(self, lock: Lock | None, error: StorageError) -> _Shown:
        """Return what the cache has of a place that can not be reached.

        Raises:
            StorageError: it does not have all of it.
        """
        root, look = self._cache.root, read_look(self._cache, self.name)
        wanted = dict(look.digests) if look is not None else {}
        if lock is not None:
            wanted = {key: pin.digest for key, pin in lock.pins.items()}
        found = {key: self._cache.take(*key, digest) for key, digest in wanted.items()}
        entries = {key: one for key, one in found.items() if one is not None}
        if lock is not None:
            entries = {key: one for key, one in entries.items() if self._is_intact(one)}
        missing = [
            f"{name}:{version}" for name, version in wanted if (name, version) not in entries
        ]
        if missing or not wanted:
            of_it = f"of {', '.join(missing)}" if missing else "of this place"
            raise StorageError(
                f"{error} The cache {root} has nothing whole {of_it} either. Mend the connection or the rights and "
                "start again, or fetch the models with `foveal pull` and let FOVEAL_MODELS name that folder."
            ) from error
        log.error(
            "%s SERVING FROM THE CACHE: %s, as %s. Reload when the place can be reached again.",
            error,
            ", ".join(f"{name}:{version}" for name, version in entries),
            "the lock pins them" if lock is not None else "they were when it was last seen",
        )
        for _ in entries:
            self._metrics.took("kept")
        return _Shown(entries, look.texts if look is not None else {}, {})

    def _draft(self, texts: Mapping[str, bytes]) -> Path:
        draft = self._view / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for path, content in texts.items():
            (draft / path).parent.mkdir(exist_ok=True)
            (draft / path).write_bytes(content)
        return draft

    def _show(self, shown: _Shown, in_use: Mapping[Key, Path]) -> None:
        """Let the folder have what was found."""
        draft = self._draft(shown.texts)
        for (name, version), entry in shown.entries.items():
            (draft / name).mkdir(exist_ok=True)
            (draft / name / str(version)).symlink_to(entry.folder)
        self._looks += 1
        place, before = self._view / f"look-{self._looks}", os.path.realpath(self.folder)
        draft.rename(place)
        link = self._view / "next"
        link.symlink_to(place.name)
        link.replace(self.folder)
        if before != str(self.folder):
            shutil.rmtree(before, ignore_errors=True)
        self._refusals = tuple(
            Refusal(key[0], self._path_of(key, shown, in_use), reason)
            for key, reason in shown.refusals.items()
        )
        served = {path.parents[2].name for path in in_use.values()}
        self._cache.release({entry.key for entry in shown.entries.values()} | served)

    def _path_of(self, key: Key, shown: _Shown, in_use: Mapping[Key, Path]) -> Path:
        """Return the file that a refusal is about: that which is served, where one is, so that it goes on."""
        name, version = key
        if key in in_use:
            return in_use[key]
        if key in shown.entries:
            return shown.entries[key].folder / MODEL_FILE
        return self.folder / name / str(version) / MODEL_FILE


def _key_of(path: Path) -> Key:
    return path.parents[1].name, int(path.parent.name)
