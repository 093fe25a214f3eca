"""A folder or a URL → the models there."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from service.storage.bringing import Bringing
from service.storage.cache import ModelCache
from service.storage.fetching import Pace
from service.storage.file_system import open_remote
from service.storage.folder import FolderStorage
from service.storage.remote import RemoteStorage
from service.storage.storage import Key, ModelStorage
from service.storage.url import StorageUrl
from service.storage_metrics import StorageMetrics


@dataclass(frozen=True, slots=True)
class Fetching:
    """How models are fetched from elsewhere.

    Attributes:
        cache: the folder for what was fetched.
        cache_bytes: what it may hold.
        seconds: how long a version may take.
        least_rate: in bytes a second; a slower connection is given up.
    """

    cache: Path
    cache_bytes: int
    seconds: float
    least_rate: float

    def pace(self) -> Pace:
        return Pace(self.seconds, self.least_rate)


def open_storage(
    place: Path | StorageUrl,
    fetching: Fetching,
    *,
    lock: Path | None = None,
    always: Collection[Key] = (),
    metrics: StorageMetrics | None = None,
) -> ModelStorage:
    """Return the models at a place. Nothing is looked at before `refresh`.

    Args:
        place: a folder, or a URL.
        fetching: how models are fetched from a URL.
        lock: the lock file that pins what is served; None: nothing is pinned.
        always: versions that are wanted whatever `foveal.toml` says.
        metrics: where what is fetched is counted; None: nowhere.

    Raises:
        ConfigurationError: a package is missing, or the cache can not be written.
    """
    if isinstance(place, Path):
        return FolderStorage(place, lock)
    files = open_remote(place)
    cache = ModelCache(fetching.cache, fetching.cache_bytes)
    counted = metrics or StorageMetrics()
    bringing = Bringing(files, cache, fetching.pace, counted)
    return RemoteStorage(files, cache, bringing, counted, lock=lock, always=always)
