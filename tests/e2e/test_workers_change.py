"""Changes of the models in a service of two workers: in both, or in none."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.images import plain
from tests.keys import bearer, write_keys
from tests.live import Process, problem, start
from tests.servables import write_servable

IMAGE = plain("red")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "models"
    write_servable(folder)
    for version in (1, 2):
        write_servable(folder, "newest", version=version)
    (folder / "foveal.toml").write_text('[models.newest]\nversions = "latest-1"\n')
    return folder


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[Process]:
    keys = write_keys(models.parent / "keys.toml")
    with start(
        workers=2, models=models, keys=keys, admin="true", watch="true", log_level="debug"
    ) as process:
        yield process


def change(service: Process, method: str, path: str, **body: object) -> httpx.Response:
    """Send a call over a new connection, so that either worker may get it."""
    return httpx.request(method, f"{service.url}{path}", headers=bearer("root"), timeout=15, **body)  # type: ignore[arg-type]


def answers(service: Process, query: str = "?model=colors") -> dict[str, object]:
    """Return what each worker answers: a version, or an error's code; by the part of the id that names the worker."""
    found: dict[str, object] = {}
    while len(found) < 2:
        answer = httpx.post(
            f"{service.url}/v1/classify{query}", content=IMAGE, headers=bearer("ada"), timeout=15
        )
        body = answer.json()
        found[answer.headers["x-request-id"][:20]] = body.get("version", body.get("code"))
    return found


def test_what_a_call_has_changed_of_a_model_with_a_policy_is_answered_by_either_worker(
    service: Process,
) -> None:
    for version in (1, 2, 1, 2):
        path = "/v1/models/newest/aliases/canary"
        answer = change(service, "PUT", path, json={"version": version})
        assert answer.status_code == 200, answer.text
        plan = answer.json()["plans"]["newest"]
        assert (plan["versions"], plan["aliases"]) == ("latest-1", {"canary": version})
    assert change(service, "DELETE", path).is_success


@pytest.mark.slow
def test_every_worker_follows_and_none_does_where_one_can_not(
    service: Process, models: Path
) -> None:
    write_servable(models, version=2)
    for _ in range(3):  # by either worker; the watched folder may have been faster
        assert change(service, "PUT", "/v1/models/colors/versions/2").status_code == 200
        assert set(answers(service).values()) == {2}
    assert change(
        service, "PUT", "/v1/models/colors/aliases/canary", json={"version": 1}
    ).is_success
    assert set(answers(service, "?model=colors@canary").values()) == {1}
    for _ in range(3):
        refused = change(service, "PUT", "/v1/models/colors/versions/3", content=IMAGE)
        problem(refused, 422, "refused_model")
    assert set(answers(service).values()) == {2}
    victim = [int(found[1]) for found in service.logged(r"^worker 2 has pid (\d+)$")][-1]
    os.kill(victim, signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    while not service.logged(r"^worker 2 \(pid \d+\) was ended by SIGKILL"):
        httpx.get(f"{service.url}/health/live")
    detail = problem(change(service, "DELETE", "/v1/models/colors/versions/2"), 503, "unavailable")
    assert "worker 2 does not answer, so that no model is changed anywhere" in detail
    while not service.logged("^worker 2 serves again$"):
        httpx.get(f"{service.url}/health/live")
    assert set(answers(service).values()) == {2}, "the new worker begins with what was changed"
    assert set(answers(service, "?model=colors@canary").values()) == {1}
    assert change(service, "DELETE", "/v1/models/colors/versions/2").is_success
    assert set(answers(service).values()) == {1}
    gone = change(service, "DELETE", "/v1/models/colors/versions/2?file=true")
    assert gone.json()["removed"] == [], "it was not served any more, and lay there"
    assert not (models / "colors" / "2").exists()
    write_servable(models, version=2)
    assert change(service, "POST", "/v1/admin/reload").is_success
    assert set(answers(service).values()) == {2}, "nothing of the one that is gone is remembered"
    assert change(service, "DELETE", "/v1/models/colors/versions/2?file=true").is_success
    assert set(answers(service).values()) == {1}


@pytest.mark.slow
def test_what_comes_into_the_watched_folder_is_served_by_all(
    service: Process, models: Path
) -> None:
    draft = models / ".draft"
    write_servable(draft, "paints")
    (draft / "paints").rename(models / "paints")
    while not service.logged("folder of the models has changed: loaded .*paints:1"):
        httpx.get(f"{service.url}/health/live")
    assert set(answers(service, "?model=paints").values()) == {1}


@pytest.mark.slow
def test_a_file_that_is_seen_half_copied_is_refused_and_served_by_all_once_it_is_whole(
    service: Process, models: Path
) -> None:
    whole = write_servable(models / ".other", "slow").read_bytes()
    file, half = models / "slow" / "1" / "model.onnx", len(whole) // 2
    file.parent.mkdir(parents=True)
    file.write_bytes(whole[:half])
    while not service.logged("refused: .*slow"):
        httpx.get(f"{service.url}/health/live")
    assert set(answers(service, "?model=slow").values()) == {"unknown_model"}
    with file.open("ab") as copy:
        copy.write(whole[half:])
    while not service.logged("folder of the models has changed: loaded slow:1, removed"):
        httpx.get(f"{service.url}/health/live")
    assert set(answers(service, "?model=slow").values()) == {1}


def test_workers_answer_the_same_after_one_was_replaced(tmp_path: Path) -> None:
    """The new one finds a version in the folder that nobody has asked for yet."""
    folder = tmp_path / "models"
    write_servable(folder)
    keys = write_keys(tmp_path / "keys.toml")
    with start(workers=2, models=folder, keys=keys, log_level="debug") as two:
        write_servable(folder, version=2)
        assert set(answers(two).values()) == {1}
        [victim] = [int(found[1]) for found in two.logged(r"^worker 2 has pid (\d+)$")]
        os.kill(victim, signal.SIGKILL)
        while not two.logged("^worker 2 serves again$"):
            time.sleep(0.05)
        while set(answers(two).values()) != {2}:
            time.sleep(0.05)
