"""Places of models: a web server of a folder, and what opens them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.storage.bringing import Bringing
from service.storage.cache import ModelCache
from service.storage.fetching import Pace
from service.storage.file_system import open_remote
from service.storage.remote import RemoteStorage
from service.storage.url import parse_url
from service.storage_metrics import StorageMetrics
from tests.file_server import FileServer, serve_files

Open = Callable[..., RemoteStorage]


def quick_pace() -> Pace:
    """Return limits for tests: no pauses between attempts."""
    return Pace(seconds=20, least_rate=0, pause=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    root = tmp_path / "place"
    root.mkdir()
    with serve_files(root) as server:
        yield server


@pytest.fixture
def open_place(tmp_path: Path) -> Iterator[Open]:
    """Return what opens a URL with the cache of this test."""
    opened: list[RemoteStorage] = []

    def open_it(
        url: str,
        *,
        lock: Path | None = None,
        cache_bytes: int = 1 << 30,
        pace: Callable[[], Pace] = quick_pace,
        metrics: StorageMetrics | None = None,
    ) -> RemoteStorage:
        files = open_remote(parse_url(url))
        cache = ModelCache(tmp_path / "cache", cache_bytes)
        counted = metrics or StorageMetrics()
        bringing = Bringing(files, cache, pace, counted)
        opened.append(RemoteStorage(files, cache, bringing, counted, lock=lock))
        return opened[-1]

    yield open_it
    for one in opened:
        one.close()
