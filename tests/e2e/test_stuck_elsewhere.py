"""A network that never ends in an explanation, in the step of a chain, as a shadow, behind the cache and in a swap."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.bad_networks import endless, endless_when_bright
from tests.keys import bearer, write_keys
from tests.live import Live, problem, serve, start
from tests.servables import write_servable
from tests.service.chains.spots import tasks_with, write_chain

CHAIN = """
[[steps]]
name = "find"
task = "spots"
model = "colors"
[[steps]]
name = "read"
task = "classify"
model = "bright"
"""
SHADOW = """
[models.colors]
weights = {1 = 100}
shadow = 2
"""


def gray(value: int, width: int = 8) -> bytes:
    """Return a PNG of one shade."""
    file = BytesIO()
    Image.fromarray(np.full((8, width, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


DARK, BRIGHT = gray(10), gray(255)


def post(url: str, path: str, image: bytes = DARK) -> httpx.Response:
    return httpx.post(f"{url}{path}", content=image, timeout=60)


def classify(url: str, model: str, image: bytes = DARK) -> httpx.Response:
    return post(url, f"/v1/classify?model={model}", image)


def given_up(live: Live) -> float:
    return live.sample("foveal_stuck_batches_total")


def until_given_up(live: Live, count: float) -> None:
    while given_up(live) < count:
        time.sleep(0.01)


def test_an_explanation_that_never_ends_is_given_up_and_the_next_ones_are_made(
    tmp_path: Path,
) -> None:
    """Its copy of the network has not run before, and there is one thread for everything."""
    write_servable(tmp_path, "bright", model=endless_when_bright())
    write_servable(tmp_path, "colors")
    explain = "/v1/explain?view=occlusion&samples=49&model=bright"
    with serve(models=tmp_path, stuck_seconds=1, threads=1, timeout_ms=30_000) as live:
        with ThreadPoolExecutor(1) as clients:
            stuck = clients.submit(post, live.url, explain, BRIGHT)
            assert classify(live.url, "colors").status_code == 200
            problem(stuck.result(), 503, "run_stuck")
        assert given_up(live) == 1
        assert post(live.url, explain).status_code == 200
        assert classify(live.url, "bright").status_code == 200
        assert httpx.get(f"{live.url}/health/ready").status_code == 200


def test_an_explanation_that_never_ends_does_not_keep_the_end(tmp_path: Path) -> None:
    write_servable(tmp_path, "bright", model=endless_when_bright())
    explain = "/v1/explain?view=occlusion&samples=49&model=bright"
    with start(models=tmp_path, stuck_seconds=1, threads=1, grace_seconds=0) as service:
        assert post(service.url, explain).status_code == 200
        answers: list[int] = []

        def ask() -> None:
            answers.append(post(service.url, explain, BRIGHT).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        while "foveal_requests_in_flight 2" not in httpx.get(f"{service.url}/metrics").text:
            time.sleep(0.01)  # 1 is this one
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_for_exit() == 0
        asking.join()
    assert answers in ([503], [504]), "it was accepted, so it is answered"


@pytest.mark.parametrize("step", ["first", "second"])
def test_a_step_of_a_chain_that_never_ends_is_given_up_and_other_chains_run(
    tmp_path: Path, step: str
) -> None:
    write_servable(tmp_path, "bright", model=endless_when_bright())
    text = CHAIN if step == "second" else CHAIN.replace('"colors"', '"bright"')
    write_chain(tmp_path, text)
    find = tasks_with(lambda width, _: [(0.0, 0.0, float(width), 8.0)])
    with serve(tasks=find, models=tmp_path, stuck_seconds=1, threads=1, max_fan_outs=1) as live:
        with ThreadPoolExecutor(1) as clients:
            stuck = clients.submit(post, live.url, "/v1/chain", BRIGHT)
            assert classify(live.url, "colors").status_code == 200
            answer = stuck.result()
        assert given_up(live) == 1
        if step == "first":
            problem(answer, 503, "run_stuck")
        else:  # the step's error is that of its box
            assert "run_stuck" in answer.text
        assert post(live.url, "/v1/chain").status_code == 200, "its place is free again"


def test_a_shadow_that_never_ends_harms_nobody(tmp_path: Path) -> None:
    write_servable(tmp_path, "colors")
    write_servable(tmp_path, "colors", version=2, model=endless_when_bright())
    (tmp_path / "foveal.toml").write_text(SHADOW)
    with serve(models=tmp_path, stuck_seconds=1, threads=1, timeout_ms=30_000) as live:
        for count in (1, 2, 2):  # after the second it rests
            assert classify(live.url, "colors", BRIGHT).status_code == 200
            until_given_up(live, count)
            assert classify(live.url, "colors").status_code == 200
        assert httpx.get(f"{live.url}/health/ready").status_code == 200


def test_all_who_wait_for_the_same_stuck_image_are_answered_and_it_is_not_kept(
    tmp_path: Path,
) -> None:
    write_servable(tmp_path, "bright", model=endless_when_bright())
    with serve(
        models=tmp_path, stuck_seconds=1, threads=1, timeout_ms=30_000, response_cache_bytes=1 << 20
    ) as live:
        with ThreadPoolExecutor(8) as clients:
            for answer in clients.map(lambda _: classify(live.url, "bright", BRIGHT), range(8)):
                problem(answer, 503, "run_stuck")
        assert given_up(live) == 1, "one run for all"
        assert classify(live.url, "bright").status_code == 200
        assert live.sample("foveal_cache_entries") == 1


def test_a_version_with_a_run_that_never_ends_gives_way_to_the_next(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_servable(models, "colors", model=endless_when_bright())
    keys = write_keys(tmp_path / "keys.toml", {"one": ("admin", "infer")})
    one = httpx.Client(headers=bearer("one"), timeout=60)
    with serve(models=models, keys=keys, admin=True, stuck_seconds=1, threads=2) as live, one:
        url = f"{live.url}/v1/classify?model=colors"
        with ThreadPoolExecutor(1) as clients:
            stuck = clients.submit(httpx.post, url, content=BRIGHT, headers=one.headers, timeout=60)
            while not live.services.engine.registry.versions("colors")[0].batcher.running:
                time.sleep(0.01)
            write_servable(models, "colors", version=2)
            reload = one.post(f"{live.url}/v1/admin/reload")
            problem(stuck.result(), 503, "run_stuck")
        assert reload.json()["loaded"] == ["colors:2"], reload.text
        answer = one.post(url, content=BRIGHT)
        assert (answer.status_code, answer.json()["version"]) == (200, 2)


def test_a_version_that_never_loads_leaves_the_one_before_and_does_not_keep_the_end(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    write_servable(models, "colors")
    keys = write_keys(tmp_path / "keys.toml", {"one": ("admin", "infer", "metrics")})
    with start(
        models=models, keys=keys, admin="true", grace_seconds=0, threads=1, timeout_ms=1000
    ) as service:
        write_servable(models, "colors", version=2, model=endless())
        headers = bearer("one")
        answers: list[httpx.Response] = []

        def reload() -> None:
            url = f"{service.url}/v1/admin/reload"
            answers.append(httpx.post(url, headers=headers, timeout=60))

        reloading = threading.Thread(target=reload)
        reloading.start()
        with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
            while "foveal_requests_in_flight 2" not in http.get("/metrics").text:
                time.sleep(0.01)
            for _ in range(20):
                answer = http.post("/v1/classify?model=colors", content=DARK)
                assert (answer.status_code, answer.json()["version"]) == (200, 1)
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_for_exit() == 0
        reloading.join()
    problem(answers[0], 503, "shutting_down")
    assert service.logged(r"^Foveal ended .* after the signal; every request is answered$")


def test_a_change_whose_model_never_loads_keeps_neither_other_changes_nor_models_that_wake(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    write_servable(models, "colors")
    write_servable(models, "sleepy")
    (models / "foveal.toml").write_text("[models.sleepy]\nttl_seconds = 0.2\n")
    keys = write_keys(tmp_path / "keys.toml", {"one": ("admin", "infer")})
    with (
        start(models=models, keys=keys, admin="true", load_seconds=0.5, max_load_seconds=12) as one,
        httpx.Client(base_url=one.url, headers=bearer("one"), timeout=60) as http,
    ):
        while not one.logged("sleepy version 1 is unloaded"):
            time.sleep(0.01)
        write_servable(models, "colors", version=2, model=endless())
        with ThreadPoolExecutor(1) as admin:
            loading = admin.submit(http.put, "/v1/models/colors/versions/2")
            while not one.logged("colors version 2 has been loading for more than 0.5 s"):
                time.sleep(0.01)
            assert http.post("/v1/classify?model=sleepy", content=DARK).status_code == 200
            other = http.put("/v1/models/sleepy/aliases/stable", json={"version": 1})
            detail = problem(other, 503, "overloaded")
            assert other.headers["retry-after"]
            assert "load_version of colors version 2" in detail
            assert "FOVEAL_LOAD_SECONDS" in detail
            assert not loading.done()
            detail = problem(loading.result(), 422, "refused_model")
            assert "colors version 2 did not load within 12 s" in detail
        again = http.put("/v1/models/sleepy/aliases/stable", json={"version": 1})
        assert again.status_code == 200, again.text
        answer = http.post("/v1/classify?model=colors", content=DARK)
        assert (answer.status_code, answer.json()["version"]) == (200, 1)
