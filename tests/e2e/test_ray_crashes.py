"""A request that ends each replica which gets it, on a real Ray with the proxy's middleware: three end, no more."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.cluster.local_ray import QUIET, end_processes
from benchmarks.server import free_port
from tests.e2e.crashing_service import deployed_mark

pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

START_SECONDS = 300.0


@dataclass(frozen=True)
class Service:
    url: str
    notes: Path

    def got(self, path: str) -> list[str]:
        """Return the process that got each request for a path."""
        noted = self.notes.read_text() if self.notes.exists() else ""
        lines = [line.split() for line in noted.splitlines()]
        return [process for requested, process in lines if requested == path]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder, port = tmp_path_factory.mktemp("crashes"), free_port()
    found = Service(f"http://127.0.0.1:{port}", folder / "notes")
    log = folder / "log"
    with log.open("wb") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.crashing_service", str(port), str(found.notes)],
            env={**os.environ, **QUIET},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not deployed_mark(found.notes).exists():
            assert started.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < until, log.read_text()[-4000:]
            time.sleep(0.5)
        yield found
    finally:
        end_processes(started, 0)


def test_a_request_that_ends_its_replicas_is_given_up_and_the_service_goes_on(
    service: Service,
) -> None:
    answer = httpx.post(f"{service.url}/crash", content=b"x" * 100_000, timeout=200)

    assert answer.status_code == 500
    problem = answer.json()
    assert problem["code"] == "replica_died"
    assert "So did 3 in a row" in problem["detail"]
    assert "retry-after" not in answer.headers
    ended = service.got("/crash")
    assert len(ended) == len(set(ended)) == 3
    assert httpx.get(f"{service.url}/well", timeout=200).text == "well"


def test_what_changes_the_models_ends_one(service: Service) -> None:
    answer = httpx.delete(f"{service.url}/crash/models", timeout=200)

    assert answer.json()["code"] == "replica_died"
    assert "sent once" in answer.json()["detail"]
    # None where the proxy chose a replica that another test ended, and does not know it yet.
    assert len(service.got("/crash/models")) in {0, 1}
    assert httpx.get(f"{service.url}/well", timeout=200).text == "well"
