"""`foveal serve --workers 2` as clients, Prometheus and an orchestrator see it: real processes on one socket."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.images import photograph
from tests.live import Process, start
from tests.servables import write_servable


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    models = tmp_path_factory.mktemp("models")
    write_servable(models)
    with start(workers=2, models=models) as service:
        yield service


@contextmanager
def started_in(folder: Path, models: Path, **settings: object) -> Iterator[Process]:
    """Start two workers whose temporary files lie in a folder of their own."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        with start(workers=2, models=models, log_level="debug", **settings) as service:
            yield service


def test_auto_starts_as_many_workers_as_it_says(tmp_path: Path) -> None:
    write_servable(tmp_path)
    with start(workers="auto", models=tmp_path, log_level="debug") as service:
        (said,) = service.logged(r"^FOVEAL_WORKERS=auto: (\d+) workers?, since ")
        classify(service)

        # A service of one process has no workers that it could name.
        assert int(said[1]) == (len(worker_pids(service)) or 1)


def classify(service: Process) -> str:
    """Classify over a new connection; return the part of the request id that names the process."""
    answer = httpx.post(f"{service.url}/v1/classify", content=photograph("chelsea"), timeout=10)
    assert answer.status_code == 200
    return answer.headers["x-request-id"][:20]


def scrape(service: Process) -> dict[str, float]:
    """Return the sum of all series of each name; `classified` is the number of requests to `/v1/classify`."""
    sums: dict[str, float] = {"classified": 0}
    for family in text_string_to_metric_families(httpx.get(f"{service.url}/metrics").text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
            if sample.name == "foveal_requests_total" and sample.labels["route"] == "/v1/classify":
                sums["classified"] += sample.value
    return sums


def worker_pids(service: Process) -> list[int]:
    return [int(found[1]) for found in service.logged(r"^worker \d has pid (\d+)$")]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_first_line_comes_once_when_all_are_ready_and_says_how_many(service: Process) -> None:
    (announced,) = service.logged(r"^Foveal at .*")
    assert announced[0].endswith(" with 2 workers")
    assert httpx.get(f"{service.url}/health/ready").json() == {"status": "ready", "reasons": []}


def test_several_processes_answer_and_a_scrape_of_any_counts_for_all(service: Process) -> None:
    before = scrape(service)
    answered_by: set[str] = set()
    requests = 0
    while len(answered_by) < 2:
        answered_by.add(classify(service))
        requests += 1
    for _ in range(8):  # each over a new connection, so from either process
        after = scrape(service)
        assert after["classified"] - before["classified"] == requests
        assert after["foveal_workers"] == 2
        assert after["foveal_build_info"] == 1


def test_the_statistics_of_v2_count_for_all_processes(service: Process) -> None:
    def statistics() -> dict[str, Any]:
        [found] = httpx.get(f"{service.url}/v2/models/colors/versions/1/stats").json()[
            "model_stats"
        ]
        return dict(found)

    rows = np.zeros((3, 8, 8, 3), np.uint8)
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": list(rows.shape),
        "data": rows.tolist(),
    }
    before = statistics()
    answered_by: set[str] = set()
    requests = 0
    while len(answered_by) < 2:
        answer = httpx.post(f"{service.url}/v2/models/colors/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200
        answered_by.add(answer.headers["x-request-id"][:20])
        requests += 1
    for _ in range(8):  # each over a new connection, so from either process
        after = statistics()
        assert after["inference_count"] - before["inference_count"] == 3 * requests
        counts = [one["inference_stats"]["success"]["count"] for one in (before, after)]
        assert counts[1] - counts[0] == requests


def test_a_killed_worker_is_replaced_while_the_other_goes_on_answering(
    tmp_path: Path, repository: Path
) -> None:
    with started_in(tmp_path / "t", repository) as service:
        for _ in range(10):
            classify(service)
        before = scrape(service)
        victim = worker_pids(service)[0]
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
        ):  # blocked: they come from the supervisor only
            os.kill(victim, number)
        os.kill(victim, signal.SIGKILL)
        while not service.logged(rf"pid {victim}\) was ended by SIGKILL"):
            time.sleep(0.01)
        survivors = {classify(service) for _ in range(5)}
        assert len(survivors) == 1
        while not service.logged("^worker 1 serves again$"):
            classify(service)
        while len(survivors) < 2:
            survivors.add(classify(service))
        now = scrape(service)
        assert now["foveal_workers"] == 2
        assert now["foveal_worker_restarts_total"] == 1
        assert now["classified"] > before["classified"]
        assert len(worker_pids(service)) == 3


def test_no_worker_and_no_folder_is_left_after_the_end(tmp_path: Path, repository: Path) -> None:
    with started_in(tmp_path / "t", repository, grace_seconds=30) as service:
        assert list((tmp_path / "t").glob("foveal-*/*.socket"))
        service.process.send_signal(signal.SIGTERM)
        with httpx.Client(base_url=service.url) as http:
            while (ready := http.get("/health/ready")).status_code == 200:
                pass
            assert all("the service is shutting down" in why for why in ready.json()["reasons"])
            assert http.post("/v1/classify", content=photograph("chelsea")).status_code == 200
        service.process.send_signal(signal.SIGINT)
        assert service.wait_for_exit() == 0
        assert all(is_gone(pid) for pid in worker_pids(service))
    assert not list((tmp_path / "t").glob("foveal-*"))


def test_workers_end_with_a_supervisor_that_was_killed(tmp_path: Path, repository: Path) -> None:
    with started_in(tmp_path / "t", repository, grace_seconds=30) as service:
        service.process.kill()
        service.wait_for_exit()  # which reads the log until every process has closed it
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{service.url}/health/live")
    assert not list((tmp_path / "t").glob("foveal-*"))
