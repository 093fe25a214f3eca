"""Readiness, SIGTERM and the log of the process that users start, as an orchestrator sees them."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from tests.images import photograph
from tests.live import MODELS, bundled, serve, start
from tests.servables import color_model, write_servable


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_no_accepted_request(workers: int, repository: Path) -> None:
    image = photograph("chelsea")
    answered: dict[str, int] = {}
    lost: list[str] = []
    stop = threading.Event()

    def client(url: str, index: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as http:
            for number in range(1000):
                name = f"client-{index}-{number}"
                try:
                    answer = http.post(
                        "/v1/classify", content=image, headers={"X-Request-ID": name}
                    )
                except httpx.ConnectError:
                    return  # the socket is closed
                except httpx.TransportError as error:
                    lost.append(repr(error))
                    return
                answered[name] = answer.status_code
                if stop.is_set():
                    return

    with start(grace_seconds=0.5, workers=workers, models=repository) as service:
        clients = [
            threading.Thread(target=client, args=(service.url, index)) for index in range(16)
        ]
        for thread in clients:
            thread.start()
        while len(answered) < 30:
            time.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_for_exit() == 0
        stop.set()
        for thread in clients:
            thread.join()
    assert lost == []
    accepted = {line["request_id"]: line for line in service.lines if "model" in line}
    assert len(accepted) > 30
    assert {name: answered.get(str(name)) for name in accepted} == dict.fromkeys(accepted, 200)


def test_sigterm_first_fails_readiness_and_answers_on(repository: Path) -> None:
    with (
        start(models=repository, grace_seconds=30) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        assert http.get("/health/ready").json() == {"status": "ready", "reasons": []}
        service.process.send_signal(signal.SIGTERM)
        while (ready := http.get("/health/ready")).status_code == 200:
            time.sleep(0.02)
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["the service is shutting down"]
        answer = http.post("/v1/classify", content=photograph("chelsea"))
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert http.get("/health/live").status_code == 200
        service.process.send_signal(signal.SIGINT)
        assert service.wait_for_exit() == 0


def test_the_start_says_what_loads_how_long_it_took_and_where_it_runs() -> None:
    with start(device="cpu") as service:
        messages = [str(line["message"]) for line in service.lines]
    assert re.fullmatch(
        rf"Foveal {version('foveal')} starts with the models in {MODELS} on device cpu", messages[0]
    )
    assert messages[1].startswith("loading efficientnet-lite0 version 1, glance version 1, lenet5")
    for name, task in (("lenet5", "classify"), ("u2netp", "segment"), ("motion", "temporal")):
        (line,) = (one for one in messages if one.startswith(f"{name} version 1 is ready"))
        assert re.fullmatch(
            rf".* after \d+\.\d\d s: {task} in fp32 on cpu, at most \d+ images? in a batch", line
        )
    (serves,) = (one for one in messages if one.startswith("Foveal at"))
    assert service.url in serves
    assert "efficientnet-lite0, glance, lenet5" in serves
    assert " on cpu" in serves


@pytest.mark.parametrize("workers", [1, 2])
def test_the_end_says_which_signal_came_what_is_waited_for_and_how_it_ended(
    repository: Path, workers: int
) -> None:
    body = photograph("chelsea")
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with start(models=repository, workers=workers, grace_seconds=0.2) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head.encode() + body[:10])
            while "in_flight 2.0" not in httpx.get(f"{service.url}/metrics").text:
                pass
            service.process.send_signal(signal.SIGTERM)
            while len(service.logged("the socket is closed")) < workers:
                assert service.process.poll() is None
            connection.sendall(body[10:])
            assert b" 200 " in connection.recv(65536).splitlines()[0]
        assert service.wait_for_exit() == 0
    received = service.logged(r"received SIGTERM; it is not ready any more, .* for 0\.2 s$")
    assert len(received) == workers
    assert len(service.logged("the socket is closed; 1 request is not answered yet$")) == 1
    ended = service.logged(r"ended \d+\.\d s after the signal; every request is answered$")
    assert len(ended) == workers
    if workers > 1:
        assert service.logged("^received SIGTERM; the workers end$")
        assert service.lines[-1]["message"] == "Foveal ended; every worker ended by itself"


def test_the_log_has_a_line_a_request_and_no_image(tmp_path: Path) -> None:
    with start(models=bundled(tmp_path, "efficientnet-lite0")) as service:
        httpx.post(
            f"{service.url}/v1/classify",
            content=photograph("chelsea"),
            headers={"X-Request-ID": "seen"},
        )
        service.process.send_signal(signal.SIGINT)
        assert service.wait_for_exit() == 0
    (line,) = [line for line in service.lines if line.get("request_id") == "seen"]
    assert line["message"] == "POST /v1/classify 200"
    assert line["model"] == "efficientnet-lite0"
    assert line["batch_size"] == 1
    assert {"ms", "decode_ms", "queue_ms", "infer_ms", "head_ms"} <= set(line)
    assert len(str(line)) < 600


def test_a_model_that_can_not_be_served_keeps_the_service_from_being_ready(tmp_path: Path) -> None:
    write_servable(tmp_path, "good")
    bare = tmp_path / "bare" / "1" / "model.onnx"
    bare.parent.mkdir(parents=True)
    bare.write_bytes(color_model().SerializeToString())
    with serve(models=tmp_path) as service, httpx.Client(base_url=service.url) as http:
        ready = http.get("/health/ready")
        assert ready.status_code == 503
        assert "carries no card" in ready.json()["reasons"][0]
        assert http.get("/v1/models/good").json()["models"][0]["state"] == "ready"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env={"PATH": "/usr/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FOVEAL_DEVICE": "tpu"}, "FOVEAL_DEVICE=tpu"),
        ({"FOVEAL_PROT": "80"}, "did you mean FOVEAL_PORT?"),
        ({"FOVEAL_MODELS": "nowhere"}, "There is no folder nowhere"),
        ({"FOVEAL_MODELS": "nowhere", "FOVEAL_WORKERS": "2"}, "There is no folder nowhere"),
        ({"FOVEAL_DEFAULTS": '{"classify": "nothing"}'}, "The default of classify is 'nothing'"),
    ],
)
def test_what_the_operator_can_correct_stops_the_start_with_one_line(
    environment: dict[str, str], message: str
) -> None:
    done = (
        run("serve", FOVEAL_PORT="0", **environment)
        if "FOVEAL_PROT" not in environment
        else run("serve", **environment)
    )
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_device_that_is_set_by_name_never_falls_back() -> None:
    done = run("serve", FOVEAL_PORT="0", FOVEAL_DEVICE="tensorrt", FOVEAL_MODELS="models")
    if done.returncode == 0:
        pytest.skip("this machine has TensorRT")
    assert done.returncode == 2
    assert "tensorrt needs" in " ".join(done.stderr.split())


def test_a_port_that_is_taken_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", FOVEAL_PORT=str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "Choose another with --port" in " ".join(done.stderr.split())


def test_doctor_describes_the_machine_and_the_models() -> None:
    done = run("doctor", COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in (
        "ONNX Runtime",
        "Cores",
        "Memory",
        "cuda",
        "openvino",
        "efficientnet-lite0",
        "lenet5",
    ):
        assert word in done.stdout


def test_doctor_fails_when_a_certificate_does_not_hold(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"colors", b"colorz", 1))
    done = run("doctor", "--models", str(tmp_path), COLUMNS="200")
    assert done.returncode == 1
    assert "not the one that was proved" in done.stdout


def test_warm_loads_every_model_once_and_ends(tmp_path: Path) -> None:
    write_servable(tmp_path)
    warmed = run("warm", "--models", str(tmp_path), "--device", "cpu")
    assert warmed.returncode == 0
    assert "colors version 1 on cpu" in warmed.stdout
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no network")
    failed = run("warm", "--models", str(tmp_path))
    assert failed.returncode == 1
    assert "broken" in failed.stdout


def test_models_lists_what_an_image_costs() -> None:
    done = run("models", COLUMNS="200")
    assert done.returncode == 0
    assert "efficientnet-lite0" in done.stdout
    assert " M" in done.stdout
