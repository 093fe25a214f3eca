"""The cache of models: bounded, shared by processes, and whole or not at all."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.errors import StorageError
from service.runtime.repository import Servable
from service.storage.cache import CacheFullError, ModelCache, alone
from tests.file_server import FileServer
from tests.service.storage.conftest import Open
from tests.service.storage.models import write_large

SIZE = 1_000_000
MODULE = "tests.service.storage.fetch_once"


def test_the_least_recently_used_goes_and_never_what_is_served(
    server: FileServer, tmp_path: Path, open_place: Open
) -> None:
    for version in (1, 2, 3):
        write_large(server.root, SIZE, version=version)
    policy = server.root / "foveal.toml"

    def look(*versions: int) -> list[int]:
        policy.write_text(f"[models.colors]\nversions = {list(versions)}\n")
        storage.refresh([one.path for one in served])
        return [one.version for one in storage.scan()[0]]

    room = int(2.5 * SIZE)
    served: tuple[Servable, ...] = ()
    storage = open_place(server.url, cache_bytes=room)
    assert look(1) == [1]
    assert look(2) == [2]
    assert look(3) == [3], "the first has gone"
    kept = {path.name.split("-")[1] for path in (tmp_path / "cache" / "entries").iterdir()}
    assert kept == {"2", "3"}
    other = open_place(server.url, cache_bytes=room)
    policy.write_text("[models.colors]\nversions = [2]\n")
    other.refresh()
    served = storage.scan()[0]
    assert look(1) == []
    _, (refusal,) = storage.scan()
    assert "FOVEAL_MODELS_CACHE_BYTES" in refusal.reason
    assert served[0].path.exists()
    other.close()
    assert look(1) == [1]
    assert served[0].path.exists()


def fetching(server: FileServer, cache: Path, *most: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, server.url, str(cache), *most],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(process: "subprocess.Popen[str]", line: str) -> None:
    """Return when a process has written this to its log."""
    assert process.stderr is not None
    for found in process.stderr:
        if line in found:
            return
    raise AssertionError(f"it ended without {line!r}")


@contextmanager
def held_after(server: FileServer, size_bytes: int) -> Iterator[threading.Event]:
    """Let the server send so much, then wait until the event or the end of the block."""
    goes_on, reached = threading.Event(), threading.Event()
    sent = 0

    def count(_: str) -> None:
        nonlocal sent
        sent += 4096
        if sent > size_bytes:
            reached.set()
            goes_on.wait()

    server.before_write = count
    try:
        yield reached
    finally:
        server.before_write = lambda _: None
        goes_on.set()


def test_a_version_counts_until_it_is_an_entry(tmp_path: Path) -> None:
    """Else another process finds room for its own while this one waits for the lock."""
    cache = ModelCache(tmp_path / "cache", 100)
    with cache.fetching("f" * 64) as folder:
        cache.reserve(folder, 80, "colors:1")
        (folder / "model.onnx").write_bytes(b"x" * 80)
        digests = {"model.onnx": "sha256:" + "0" * 64}
        keeping = threading.Thread(target=cache.keep, args=(folder, "colors", 1, digests))
        with alone(cache.root / "lock"):
            keeping.start()
            keeping.join(0.5)  # a fixed wait: it must not let its room go meanwhile
            assert (folder / "reserved").read_text() == "80"
        keeping.join(60)
    with cache.fetching("e" * 64) as other, pytest.raises(CacheFullError):
        cache.reserve(other, 80, "colors:2")
    cache.close()


def test_a_killed_download_leaves_nothing_that_is_taken_for_whole_and_another_goes_on(
    server: FileServer, tmp_path: Path
) -> None:
    path = write_large(server.root, 4 * SIZE)
    cache = tmp_path / "cache"
    with held_after(server, 3 * SIZE) as reached:
        first = fetching(server, cache)
        assert reached.wait(30)
        second = fetching(server, cache)
        until(second, "waiting for it")
        first.kill()
        first.communicate()
        assert list((cache / "entries").iterdir()) == []
    out, log = second.communicate()
    assert second.returncode == 0, log
    ((found,), refusals) = json.loads(out)
    assert refusals == []
    assert Path(found).read_bytes() == path.read_bytes()
    whole, rest = server.fetched("model.onnx")
    assert whole == ""
    assert int(rest.removeprefix("bytes=").rstrip("-")) > 0


def test_of_two_processes_one_downloads(server: FileServer, tmp_path: Path) -> None:
    write_large(server.root, SIZE)
    with held_after(server, SIZE // 2) as reached:
        first = fetching(server, tmp_path / "cache")
        assert reached.wait(30)
        second = fetching(server, tmp_path / "cache")
        until(second, "waiting for it")
    answers = {process.communicate()[0] for process in (first, second)}
    assert len(answers) == 1
    assert len(server.fetched("model.onnx")) == 1


def test_a_disk_that_fills_refuses_the_version_and_keeps_nothing_of_it(
    server: FileServer, tmp_path: Path
) -> None:
    write_large(server.root, SIZE, "large")
    write_large(server.root, 1000, "small")
    process = fetching(server, tmp_path / "cache", str(SIZE // 2))
    out, log = process.communicate()
    assert process.returncode == 0, log
    ((small,), (reason,)) = json.loads(out)
    assert "/small/1/" in small
    assert "has no room for model.onnx" in reason
    assert "FOVEAL_MODELS_CACHE" in reason
    assert [one for one in (tmp_path / "cache" / "incoming").iterdir() if one.is_dir()] == []


def test_a_view_that_can_not_be_written_is_an_error_and_what_was_shown_stays(
    server: FileServer, open_place: Open
) -> None:
    write_large(server.root, 1000)
    storage = open_place(server.url)
    storage.refresh()
    (storage.folder.parent / "next").mkdir()
    write_large(server.root, 1000, version=2)
    with pytest.raises(StorageError, match="can not be used: File exists"):
        storage.refresh()
    assert [one.version for one in storage.scan()[0]] == [1]


def test_a_cache_that_can_not_be_written_is_an_error(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = fetching(server, tmp_path / "file")
    _, log = process.communicate()
    assert process.returncode == 1
    assert "Let FOVEAL_MODELS_CACHE name a folder" in log
