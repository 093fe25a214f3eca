"""Versions that were fetched, on this machine's disk: whole or not at all, bounded, shared by processes and services.

    entries/<name>-<version>-<digest>/<name>/<version>/model.onnx     a whole version; the name came with one rename
    held/<name>-<version>-<digest>          locked, shared, by each process that serves it; touched when it is taken
    incoming/<fingerprint>/                 a version that is fetched, or was when its process ended
    incoming/<fingerprint>.lock             locked by the one process that fetches it
    seen/<fingerprint>                      the digest of what had this fingerprint at its place
    looks/<digest of the URL>.json          what was at a place when it was last seen whole
    views/<random>/                         what one process serves, as a model repository of links
    lock                                    locked for moments: to take, to reserve, to remove

docs/decisions/0034 says why.
"""

import contextlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from service.errors import StorageError
from service.logs import LOGGER
from service.storage.lock_file import version_digest
from service.whole_write import write_whole

try:
    import fcntl
except ImportError:  # Windows; there each process needs a cache of its own
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(LOGGER)

_SIZES = "sizes.json"
_RESERVED = "reserved"
_LOCK, _DRAFT, _GONE = ".lock", ".draft", ".gone"


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole version in the cache.

    Attributes:
        key: its folder's name.
        digest: of its files.
        folder: with its files; its last two parts are the name and the version.
    """

    key: str
    digest: str
    folder: Path


class CacheFullError(Exception):
    """There is no room for a version beside what is served."""


class ModelCache:
    """The versions on this disk. All methods block.

    Args:
        root: its folder; made when needed.
        most_bytes: what all versions may have together.

    Raises:
        StorageError: the folder can not be made or written.
    """

    def __init__(self, root: Path, most_bytes: int) -> None:
        self.root = root
        self.most_bytes = most_bytes
        self._held: dict[str, IO[bytes]] = {}
        try:
            for name in ("entries", "held", "incoming", "seen", "looks", "views"):
                (root / name).mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._sweep()
        except OSError as error:
            raise StorageError(
                f"{root} can not be written: {error.strerror or error}. Let FOVEAL_MODELS_CACHE name a folder for the "
                "models that are fetched, or --models of foveal pull."
            ) from error

    def known(self, fingerprint: str) -> str | None:
        """Return the digest of what had a fingerprint; None where nothing is known of it."""
        try:
            return (self.root / "seen" / fingerprint).read_text() or None
        except OSError:
            return None

    def remember(self, fingerprint: str, digest: str) -> None:
        """Keep the digest of what has a fingerprint."""
        with tolerant(self.root):
            write_whole(self.root / "seen" / fingerprint, digest.encode())

    def take(self, name: str, version: int, digest: str) -> Entry | None:
        """Return a version that lies here whole, and keep it from being removed; None where it does not.

        It is held until `release`, or until this process ends.
        """
        entry = self._entry(name, version, digest)
        with self._locked():
            return self._hold(entry)

    def release(self, keep: set[str]) -> None:
        """Let all versions go but those with these keys."""
        for key in set(self._held) - keep:
            self._held.pop(key).close()

    def drop(self, entry: Entry) -> None:
        """Remove a version that is damaged, unless another process holds it."""
        with self._locked():
            held = self._held.pop(entry.key, None)
            if held is not None:
                held.close()
            self._remove_entry(entry.key)

    @contextmanager
    def fetching(self, fingerprint: str) -> Iterator[Path]:
        """Give the folder for a version that is fetched; one process after the other is in the block.

        What an earlier process left is still there.
        """
        folder = self.root / "incoming" / fingerprint
        with (self.root / "incoming" / f"{fingerprint}{_LOCK}").open("ab") as lock:
            if not _lock(lock, wait=False):
                log.info(
                    "another process fetches the same version into %s: waiting for it", self.root
                )
                _lock(lock)
            folder.mkdir(exist_ok=True)
            yield folder

    def reserve(self, folder: Path, size_bytes: int, name: str) -> None:
        """Make room for a version; to be called in `fetching`.

        What was not used for longest goes, and never what a process serves.

        Raises:
            CacheFullError: there is not enough that may be removed.
        """
        with self._locked():
            (folder / _RESERVED).write_text(str(size_bytes))
            total = sum(self._entry_sizes().values()) + self._incoming_bytes()
            if total > self.most_bytes:
                self._make_room(total, folder)
            total = sum(self._entry_sizes().values()) + self._incoming_bytes()
        if total > self.most_bytes:
            self.discard(folder)
            raise CacheFullError(
                f"{name} has {size_bytes} bytes, and {self.root} may hold {self.most_bytes} "
                f"(FOVEAL_MODELS_CACHE_BYTES), of which {total - size_bytes} are served or are being fetched. "
                "Raise it, or serve fewer versions."
            )

    def keep(
        self, folder: Path, name: str, version: int, digests: Mapping[str, str]
    ) -> Entry | None:
        """Let a version that has come be whole here, and return it, held; to be called in `fetching`.

        None: another process holds the same version here, and it is damaged.
        """
        entry = self._entry(name, version, version_digest(digests))
        sizes = {one: (folder / one).stat().st_size for one in digests}
        draft = folder.with_name(f"{folder.name}{_DRAFT}")
        shutil.rmtree(draft, ignore_errors=True)
        place = draft / name / str(version)
        place.parent.mkdir(parents=True)
        write_whole(draft / _SIZES, json.dumps(sizes).encode())
        for other in folder.iterdir():
            if other.name not in digests and other.name != _RESERVED:
                other.unlink()
        with self._locked():  # others count it as reserved, or as an entry
            (folder / _RESERVED).unlink(missing_ok=True)
            folder.rename(place)
            if not _is_whole(entry):
                self._remove_entry(entry.key)
            try:
                draft.rename(self.root / "entries" / entry.key)
            except OSError:  # the same version is there already
                shutil.rmtree(draft, ignore_errors=True)
            return self._hold(entry)

    def discard(self, folder: Path) -> None:
        """Remove what came of a version; to be called in `fetching`."""
        shutil.rmtree(folder, ignore_errors=True)

    def whole_bytes(self) -> int:
        """Return how many bytes all whole versions have together.

        Raises:
            OSError: the cache can not be read.
        """
        with self._locked():
            return sum(self._entry_sizes().values())

    def close(self) -> None:
        """Let all versions go."""
        self.release(set())

    def _entry(self, name: str, version: int, digest: str) -> Entry:
        key = _key(name, version, digest)
        return Entry(key, digest, self.root / "entries" / key / name / str(version))

    def _hold(self, entry: Entry) -> Entry | None:
        """Hold a version that lies here whole; the cache is locked."""
        if not _is_whole(entry):
            return None
        path = self.root / "held" / entry.key
        if entry.key not in self._held:
            held = path.open("ab")
            _lock(held, shared=True)
            self._held[entry.key] = held
        with tolerant(self.root):
            os.utime(path)
        return entry

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with alone(self.root / "lock"):
            yield

    def _entry_sizes(self) -> dict[str, int]:
        sizes = {}
        for folder in (self.root / "entries").iterdir():
            found = _sizes(folder)
            sizes[folder.name] = sum((found or {}).values())
        return sizes

    def _incoming_bytes(self) -> int:
        return sum(
            _reserved(folder) for folder in (self.root / "incoming").iterdir() if folder.is_dir()
        )

    def _make_room(self, total: int, wanted: Path) -> None:
        """Remove what nobody fetches any more, then whole versions, the least recently used first."""
        for folder in (self.root / "incoming").iterdir():
            if folder.is_dir() and folder != wanted:
                total -= self._remove_abandoned(folder)
        sizes = self._entry_sizes()
        for key in sorted(sizes, key=self._used):
            if total <= self.most_bytes:
                break
            if self._remove_entry(key):
                log.info("removed %s from the cache of models to make room", key)
                total -= sizes[key]
        self._forget_gone()

    def _sweep(self) -> None:
        """Remove what processes that were killed had begun to move; what they had fetched stays, for who goes on."""
        for folder in (self.root / "incoming").iterdir():
            if folder.suffix == _GONE:
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.suffix == _DRAFT:
                self._remove_abandoned(folder)

    def _remove_abandoned(self, folder: Path) -> int:
        """Remove what came of a version where no process fetches it, and return how much was reserved for it."""
        lock = folder.with_name(f"{folder.name.removesuffix(_DRAFT)}{_LOCK}")
        with lock.open("ab") as file:
            if not _lock(file, wait=False):
                return 0
            size = _reserved(folder)
            shutil.rmtree(folder, ignore_errors=True)
            return size

    def _remove_entry(self, key: str) -> bool:
        """Remove a version that no process holds; the cache is locked."""
        path = self.root / "held" / key
        with path.open("ab") as file:
            if key in self._held or not _lock(file, wait=False):
                return False
            gone = self.root / "incoming" / f"{secrets.token_hex(8)}{_GONE}"
            try:
                (self.root / "entries" / key).rename(gone)
            except OSError:
                return False
            shutil.rmtree(gone, ignore_errors=True)
            path.unlink(missing_ok=True)
        return True

    def _used(self, key: str) -> float:
        try:
            return (self.root / "held" / key).stat().st_mtime
        except OSError:
            return 0.0

    def _forget_gone(self) -> None:
        """Remove what is remembered of versions that are not here."""
        there = {key.rpartition("-")[2] for key in self._entry_sizes()}
        for path in (self.root / "seen").iterdir():
            with contextlib.suppress(OSError):
                if path.read_text().removeprefix("sha256:") not in there:
                    path.unlink()

    @contextmanager
    def view(self) -> Iterator[Path]:
        """Give an empty folder for this process alone; it goes with the block, or with the process."""
        folder = self.root / "views" / secrets.token_hex(8)
        with ExitStack() as stack:
            with self._locked():
                _sweep_views(self.root / "views")
                folder.mkdir()
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                _lock(stack.enter_context((folder / _LOCK).open("ab")))
            yield folder


@contextmanager
def alone(path: Path) -> Iterator[IO[bytes]]:
    """Let one process after the other into the block, with the file that is locked.

    Args:
        path: of a file that is locked; made when needed.
    """
    with path.open("ab") as file:
        _lock(file)
        yield file


def _sweep_views(views: Path) -> None:
    """Remove the views of processes that have ended."""
    for folder in views.iterdir():
        with contextlib.suppress(OSError), (folder / _LOCK).open("rb") as file:
            if _lock(file, wait=False):
                shutil.rmtree(folder, ignore_errors=True)


def _reserved(folder: Path) -> int:
    """Return how many bytes a version that is fetched into a folder will have; 0 where that is not known."""
    try:
        return int((folder / _RESERVED).read_text())
    except (OSError, ValueError):
        return 0


def _key(name: str, version: int, digest: str) -> str:
    return f"{name}-{version}-{digest.removeprefix('sha256:')}"


def _sizes(folder: Path) -> dict[str, int] | None:
    try:
        found = json.loads((folder / _SIZES).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _is_whole(entry: Entry) -> bool:
    """Return whether a version's files are there with their sizes; disks lose files too."""
    sizes = _sizes(entry.folder.parents[1])
    if not sizes:
        return False
    try:
        return all((entry.folder / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def _lock(file: IO[bytes], *, shared: bool = False, wait: bool = True) -> bool:
    """Lock a file until it is closed, or its process ends; return whether it is locked."""
    if fcntl is None:
        return True
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def tolerant(root: Path) -> Iterator[None]:
    """Let what only saves time fail."""
    try:
        yield
    except OSError as error:
        log.info("%s: %s", root, error.strerror or error)
