"""`serve run service.cluster:app` on a Ray of this machine: several replicas, one service."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cluster.clients import Tally, clients
from benchmarks.cluster.local_ray import LocalRay, local_ray
from tests.images import plain
from tests.keys import bearer, write_keys
from tests.servables import SIDE, write_servable

pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")

# One process, whose tests use one cluster after the other; a loaded machine starts it in a minute or two.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

IMAGE = plain("red")
PATIENCE_SECONDS = 120.0
SIZE = 160
"""The matrices of the slow network: a tenth of a second for their products."""


def slow_model() -> onnx.ModelProto:
    """Return `color_model`, after so much other work that a queue grows before it."""
    matrix = np.eye(SIZE, dtype=np.float32)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])
        for name in ("logits", "probabilities", "features")
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["features"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["column"]),
        helper.make_node("Mul", ["column", "eye"], ["work0"]),
        *(
            helper.make_node("MatMul", [f"work{step}", "eye"], [f"work{step + 1}"])
            for step in range(400)
        ),
        helper.make_node("ReduceMean", ["work400"], ["left"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["left", "nothing"], ["zero"]),
        helper.make_node("Unsqueeze", ["zero", "axis1"], ["zeros"]),
        helper.make_node("Add", ["features", "zeros"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(matrix, "eye"),
        numpy_helper.from_array(np.array([2], np.int64), "axis"),
        numpy_helper.from_array(np.array([1], np.int64), "axis1"),
        numpy_helper.from_array(np.array(0, np.float32), "nothing"),
    ]
    graph = helper.make_graph(nodes, "slow", [image], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "models"
    write_servable(folder)
    write_servable(folder, "slow", model=slow_model())
    return folder


@pytest.fixture(scope="module")
def ray(models: Path) -> Iterator[LocalRay]:
    environment = {
        "FOVEAL_MODELS": str(models),
        "FOVEAL_CACHE": str(models.parent / "cache"),
        "FOVEAL_KEYS": str(write_keys(models.parent / "keys.toml")),
        "FOVEAL_ADMIN": "true",
        "FOVEAL_TIMEOUT_MS": "60000",
        "FOVEAL_TRIAL": "false",
    }
    with local_ray(
        models.parent,
        environment=environment,
        headers=bearer("prometheus"),
        arguments={
            "min_ingress": 2,
            "max_ingress": 2,
            "min_replicas": 2,
            "max_replicas": 2,
            "upscale_seconds": 1,
            "downscale_seconds": 4,
            "models": '{"slow": {"min_replicas": 1, "max_replicas": 2}}',
        },
        end_seconds=0,  # Ray ends as its own users know it, and no test is about that
    ) as running:
        yield running


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.5)


def classify(ray: LocalRay, query: str = "?model=colors") -> httpx.Response:
    """Send an image over a new connection: any replica may get it."""
    return httpx.post(
        f"{ray.url}/v1/classify{query}", content=IMAGE, headers=bearer("ada"), timeout=60
    )


def change(ray: LocalRay, method: str, path: str) -> httpx.Response:
    return httpx.request(method, f"{ray.url}{path}", headers=bearer("root"), timeout=120)


def loaded(ray: LocalRay, model: str, count: int, happens: Callable[[Tally], None]) -> Tally:
    """Let something happen under the load of clients, and return what these were answered."""
    url = f"{ray.url}/v1/classify?model={model}"
    with clients(url, IMAGE, count, bearer("ada")) as tally:
        happens(tally)
    return tally


def test_it_answers_as_one_process_does(ray: LocalRay) -> None:
    answer = classify(ray, "?model=colors&top_k=1")
    (prediction,) = answer.json()["results"][0]["predictions"]
    assert (answer.status_code, prediction["label"]) == (200, "red")
    assert {"server-timing", "x-request-id"} <= answer.headers.keys()
    refused = classify(ray, "?model=colors&top_k=nine")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
    assert refused.headers["content-type"] == "application/problem+json"
    assert httpx.post(f"{ray.url}/v1/classify", content=IMAGE).status_code == 401
    assert httpx.get(f"{ray.url}/v2/health/ready").status_code == 200


def test_one_scrape_counts_the_requests_of_all_replicas(ray: LocalRay) -> None:
    wait_until(lambda: ray.sample("foveal_replicas", model="colors") == 2)
    before = ray.sample("foveal_requests_total", route="/v1/classify", status="200")
    for _ in range(20):
        assert classify(ray).status_code == 200
    found = ray.sample("foveal_requests_total", route="/v1/classify", status="200")
    assert found - before == 20
    assert ray.sample("foveal_replicas", model="") == 2
    assert ray.sample("foveal_images_total", model="colors", outcome="answered") >= 20


@pytest.mark.parametrize("kind", ["model", "ingress"])
def test_a_killed_replica_loses_no_request_and_no_count(ray: LocalRay, kind: str) -> None:
    def kill(tally: Tally) -> None:
        wait_until(lambda: tally.answers >= 5)
        counted = ray.sample("foveal_images_total", outcome="answered")
        ray.kill(kind)
        seen = tally.answers
        wait_until(lambda: tally.answers >= seen + 50)
        assert ray.sample("foveal_images_total", outcome="answered") >= counted

    assert loaded(ray, "colors", 6, kill).failures == {}
    wait_until(lambda: ray.sample("foveal_replicas", model="") == 2)


def test_a_version_comes_to_every_replica_and_goes_from_every_replica(
    ray: LocalRay, models: Path
) -> None:
    wait_until(lambda: httpx.get(f"{ray.url}/health/ready", timeout=30).status_code == 200)
    write_servable(models, version=2)
    wait_until(lambda: change(ray, "POST", "/v1/admin/reload").status_code == 200)
    for _ in range(12):  # by either replica
        assert classify(ray).json()["version"] == 2
    (models / "colors" / "2" / "model.onnx").unlink()
    assert change(ray, "DELETE", "/v1/models/colors/versions/2").json()["removed"] == ["colors:2"]
    assert {classify(ray, "?model=colors&version=2").status_code for _ in range(12)} == {404}
    wait_until(lambda: ray.sample("foveal_replicas", model="colors", version="2") == 0)
    refused = change(ray, "PUT", "/v1/models/colors/versions/9")
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_version")


def test_traffic_adds_replicas_and_their_absence_takes_them_away(ray: LocalRay) -> None:
    def grow(_: Tally) -> None:
        wait_until(lambda: ray.sample("foveal_replicas", model="slow") == 2)

    assert loaded(ray, "slow", 12, grow).failures == {}
    wait_until(lambda: ray.sample("foveal_replicas", model="slow") == 1)
    assert classify(ray, "?model=slow").status_code == 200


def test_without_a_coordinator_requests_are_answered_and_the_next_one_knows_what_was_counted(
    ray: LocalRay,
) -> None:
    counted = ray.sample("foveal_images_total", outcome="answered")

    def kill(tally: Tally) -> None:
        ray.kill("coordinator")
        wait_until(lambda: tally.answers >= 20)

    assert loaded(ray, "colors", 6, kill).failures == {}
    scrape = f"{ray.url}/metrics"
    wait_until(lambda: httpx.get(scrape, headers=ray.headers, timeout=30).is_success)
    wait_until(lambda: ray.sample("foveal_replicas", model="colors") == 2)
    assert ray.sample("foveal_images_total", outcome="answered") >= counted + 20
