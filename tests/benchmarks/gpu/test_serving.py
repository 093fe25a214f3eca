"""The figures of a load on the real service, on a real socket."""

import http.client
import os
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.load import Load
from benchmarks.gpu.photographs import request_body
from benchmarks.gpu.serving import Served, StartError, ask, free_port, model_state, running, under
from tests.live import serve


@pytest.mark.timeout(90)
def test_a_load_on_the_service_says_where_the_time_goes(tmp_path: Path) -> None:
    body = tmp_path / "request.jpg"
    body.write_bytes(request_body())
    with serve(device="cpu") as live:
        host, port = live.address
        state = model_state(port, "lenet5")
        load = Load(
            host, port, "/v1/classify?model=lenet5", str(body), "image/jpeg", 4, 60, most=30
        )
        labels = {"model": "lenet5", "outcome": "answered"}
        before = live.sample("foveal_images_total", **labels)  # health checks count too
        found = under(load, Served(port, os.getpid(), load.path, "lenet5", metrics=True))
        answered = live.sample("foveal_images_total", **labels) - before

    assert state["state"] == "ready"
    assert (state["device"], state["precision"]) == ("cpu", "fp32")
    assert found["statuses"] == {"200": 30}
    assert found["sent"] == answered == 30
    assert found["stage_ms"]["decode"] > found["stage_ms"]["head"] > 0
    assert found["images_a_batch"] >= 1
    assert found["decoding_threads"] > 0
    assert found["server_cores"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_a_server_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such device'); raise SystemExit(3)"]

    with (
        pytest.raises(StartError, match=r"ended with 3: no such device"),
        running(command, {}, free_port(), ready="/", log=tmp_path / "log", patience=10),
    ):
        pass


def test_a_server_that_is_late_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import signal; signal.pause()"]

    with (
        pytest.raises(StartError, match="is late"),
        running(command, {}, free_port(), ready="/", log=tmp_path / "log", patience=0.3),
    ):
        pass


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_the_naive_server_answers_with_probabilities(tmp_path: Path) -> None:
    for package in ("torch", "torchvision"):
        pytest.importorskip(package)
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gpu.naive_torch", str(port), "resnet50", "cpu"]
    with running(command, {}, port, ready="/ready", log=tmp_path / "log", patience=60):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/predict", request_body(), {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        with pytest.raises(http.client.HTTPException, match="404"):
            ask(port, "/metrics")

    assert response.status == 200, text
    assert text.count("class_id") == 5
