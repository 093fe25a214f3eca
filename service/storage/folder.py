"""Models in a folder of this machine, held against a lock where there is one."""

from collections.abc import Collection
from pathlib import Path

from service.runtime.fleet import is_version
from service.runtime.repository import MODEL_FILE, Refusal, Servable, scan_repository
from service.storage.lock_file import Lock, Pin, differs, digests_in, read_lock
from service.storage.storage import Found, Key


class FolderStorage:
    """Models in a folder of this machine.

    Args:
        folder: `<name>/<version>/model.onnx`.
        lock: the lock file; None: nothing is pinned.

    Raises:
        ConfigurationError: the lock can not be read.
    """

    is_folder = True

    def __init__(self, folder: Path, lock: Path | None = None) -> None:
        self.folder = folder
        self._lock_path = lock
        self._pins = PinnedFiles()

    @property
    def name(self) -> str:
        return str(self.folder)

    def refresh(self, in_use: Collection[Path] = (), also: Collection[Key] = ()) -> None:
        """Do nothing: the folder is looked at where it lies."""

    def scan(self) -> Found:
        """Return what can be served; see `ModelStorage`."""
        servables, refusals = scan_repository(self.folder)
        if self._lock_path is None:
            return servables, refusals
        lock = read_lock(self._lock_path)
        return self._pins.hold(lock, servables, refusals, self.name)

    def close(self) -> None:
        """Do nothing."""


class PinnedFiles:
    """Holds servables in a folder against a lock, and reads a file again only when it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[object, dict[str, str]]] = {}

    def hold(
        self, lock: Lock, servables: Collection[Servable], refusals: Collection[Refusal], place: str
    ) -> Found:
        """Return the servables that a lock pins, and the refusals with those that it does not."""
        good, bad = [], list(refusals)
        for servable in servables:
            reason = self._reason(lock, servable, place)
            if reason is None:
                good.append(servable)
            else:
                bad.append(Refusal(servable.name, servable.path, reason))
        there = {(one.name, one.version) for one in servables}
        there |= {
            (one.name, int(one.path.parent.name))
            for one in refusals
            if is_version(one.path.parent.name)
        }
        bad += [
            Refusal(
                pin.name, Path(pin.name, str(pin.version), MODEL_FILE), not_there(pin, lock, place)
            )
            for key, pin in lock.pins.items()
            if key not in there
        ]
        return tuple(good), tuple(bad)

    def _reason(self, lock: Lock, servable: Servable, place: str) -> str | None:
        pin = lock.pins.get((servable.name, servable.version))
        if pin is None:
            return not_pinned(servable.name, servable.version, lock)
        try:
            return differs(pin, self._digests(servable.path.parent), lock.path, place)
        except OSError as error:
            return f"{servable.path}: {error.strerror or error}"

    def _digests(self, folder: Path) -> dict[str, str]:
        stamp = [
            (one.name, one.stat().st_mtime_ns, one.stat().st_size, one.stat().st_ino)
            for one in sorted(folder.iterdir())
            if one.is_file()
        ]
        known = self._known.get(folder)
        if known is not None and known[0] == stamp:
            return known[1]
        found = digests_in(folder)
        self._known[folder] = stamp, found
        return found


def not_pinned(name: str, version: int, lock: Lock) -> str:
    """Return why a version that a lock does not have is not served."""
    return (
        f"{name}:{version} is not pinned in {lock.path.name}, and only what is pinned is served. Pin it with "
        "`foveal lock`, or remove it."
    )


def not_there(pin: Pin, lock: Lock, place: str) -> str:
    """Return why a version that a lock pins is not served when it is missing."""
    return (
        f"{pin.name}:{pin.version} is pinned in {lock.path.name} with {pin.digest}, and {place} does not have it. Put "
        "it there, or write the lock again with `foveal lock`."
    )
