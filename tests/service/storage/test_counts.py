"""What is counted of places that fail: each reason under its own name."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.errors import StorageError
from service.storage.fetching import Pace
from service.storage_metrics import StorageMetrics
from tests.file_server import FileServer
from tests.servables import write_servable
from tests.service.storage.conftest import Open
from tests.service.storage.counted import counted
from tests.service.storage.models import write_large

MODEL = "/colors/1/model.onnx"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def break_off(server: FileServer) -> None:
    server.cuts[MODEL] = [1000] + [0] * 10


def answer(status: int, server: FileServer) -> None:
    server.statuses["/"] = status


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        (partial(answer, 503), "unreachable"),
        (partial(answer, 401), "denied"),
        (partial(answer, 404), "gone"),
        (break_off, "unreachable"),
    ],
)
def test_a_look_that_fails_is_counted_once_by_its_reason(
    server: FileServer,
    open_place: Open,
    registry: CollectorRegistry,
    fail: Callable[[FileServer], None],
    reason: str,
) -> None:
    write_servable(server.root)
    fail(server)
    storage = open_place(server.url, metrics=StorageMetrics(registry))
    with pytest.raises(StorageError):
        storage.refresh()
    found = counted(registry)
    assert {name: value for name, value in found.items() if "failures" in name} == {
        f"failures_total {reason}": 1
    }
    assert found["reachable"] == 0


def test_a_place_that_is_too_slow_is_counted_as_slow(
    server: FileServer, open_place: Open, registry: CollectorRegistry
) -> None:
    write_servable(server.root)
    times = iter(range(10**6))
    pace = partial(Pace, seconds=1, least_rate=0, pause=0, clock=lambda: float(next(times)))
    storage = open_place(server.url, metrics=StorageMetrics(registry), pace=pace)
    with pytest.raises(StorageError, match="FOVEAL_MODELS_FETCH_SECONDS"):
        storage.refresh()
    assert counted(registry)["failures_total slow"] == 1


def test_what_the_cache_serves_without_its_place_is_counted_as_kept(
    server: FileServer, open_place: Open, registry: CollectorRegistry
) -> None:
    size = write_servable(server.root).stat().st_size
    open_place(server.url).refresh()
    server.statuses["/"] = 503
    open_place(server.url, metrics=StorageMetrics(registry)).refresh()
    assert counted(registry) == {
        "versions_total kept": 1,
        "failures_total unreachable": 1,
        "cache_bytes": size,
        "reachable": 0,
    }


def test_one_version_that_fails_leaves_the_place_reachable(
    server: FileServer, open_place: Open, registry: CollectorRegistry
) -> None:
    write_servable(server.root)
    write_large(server.root, 300_000, "large")
    broken = server.root / "broken" / "1" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no network")
    storage = open_place(server.url, metrics=StorageMetrics(registry), cache_bytes=200_000)
    storage.refresh()
    found = counted(registry)
    assert found["versions_total fetched"] == 1
    assert found["failures_total invalid"] == 1
    assert found["failures_total cache_full"] == 1
    assert found["reachable"] == 1


def test_a_disk_that_fills_is_counted(server: FileServer, tmp_path: Path) -> None:
    write_large(server.root, 500_000, "large")
    program = """
import resource, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from service.storage.opening import Fetching, open_storage
from service.storage.url import parse_url
from service.storage_metrics import StorageMetrics
from tests.service.storage.counted import counted

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
registry = CollectorRegistry()
fetching = Fetching(Path(sys.argv[2]), 1 << 30, 60, 0)
open_storage(parse_url(sys.argv[1]), fetching, metrics=StorageMetrics(registry)).refresh()
print(counted(registry)["failures_total disk_full"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, server.url, str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "1.0", done.stderr
