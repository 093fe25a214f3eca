"""Networks that fail, never end, or never load, on a real socket: which requests fail, and what is reported."""

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from PIL import Image

from exporter.writing import graph_digest
from exporter.writing import write_servable as write_split
from service.card import DATA_SUFFIX
from service.servable_file import read_card
from tests.bad_networks import endless, endless_when_bright, failing, failing_when_bright
from tests.live import MODELS, Live, problem, serve, start
from tests.servables import write_servable


def gray(value: int) -> bytes:
    """Return a PNG of one shade."""
    file = BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


DARK, BRIGHT = gray(10), gray(255)


def classify(url: str, model: str, image: bytes = DARK) -> httpx.Response:
    return httpx.post(f"{url}/v1/classify?model={model}", content=image, timeout=30)


def batches(url: str) -> float:
    """Return how many batches have begun."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(one.split()[-1]) for one in lines if one.startswith("foveal_batches_total{"))


def wait_until_it_runs(live: Live, model: str) -> None:
    queue = live.services.engine.registry.versions(model)[0].batcher
    while not queue.running:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    models = tmp_path_factory.mktemp("models")
    write_servable(models, "a-fails", model=failing())
    write_servable(models, "bright", model=endless_when_bright())
    write_servable(models, "colors")
    with serve(models=models, stuck_seconds=1, threads=1) as live:
        yield live


def test_a_network_that_fails_in_its_first_run_is_named_and_the_others_serve(live: Live) -> None:
    (reason,) = httpx.get(f"{live.url}/health/ready").json()["reasons"]
    assert reason.startswith("a-fails version 1 failed to load: ")
    assert "its first run failed" in reason
    (model,) = httpx.get(f"{live.url}/v1/models/a-fails").json()["models"]
    assert (model["state"], reason) == ("failed", f"a-fails version 1 {model['reason']}")
    problem(classify(live.url, "a-fails"), 503, "model_not_ready")
    assert live.sample("foveal_model_ready", model="a-fails") == 0
    assert live.sample("foveal_model_ready", model="colors") == 1
    assert classify(live.url, "colors").status_code == 200


def test_an_image_on_which_a_network_never_ends_is_given_up_and_all_goes_on(live: Live) -> None:
    before = live.sample("foveal_stuck_batches_total", model="bright")
    answers: list[httpx.Response] = []
    stuck = threading.Thread(target=lambda: answers.append(classify(live.url, "bright", BRIGHT)))
    stuck.start()
    wait_until_it_runs(live, "bright")
    neighbor = classify(live.url, "colors")  # on the only thread, once that was replaced
    assert neighbor.status_code == 200
    stuck.join()
    detail = problem(answers[0], 503, "run_stuck")
    assert "did not end within" in detail
    assert "retry-after" not in answers[0].headers
    assert live.sample("foveal_stuck_batches_total", model="bright") == before + 1
    assert classify(live.url, "bright").status_code == 200
    (model,) = httpx.get(f"{live.url}/v1/models/bright").json()["models"]
    assert model["state"] == "ready"


def test_two_stuck_runs_that_could_be_stopped_leave_the_service_ready(tmp_path: Path) -> None:
    write_servable(tmp_path, "bright", model=endless_when_bright())
    with serve(models=tmp_path, stuck_seconds=1, threads=2, health_check_seconds=3600) as live:
        with ThreadPoolExecutor(2) as clients:
            for answer in clients.map(lambda _: classify(live.url, "bright", BRIGHT), range(2)):
                assert answer.status_code == 503
        while (ready := httpx.get(f"{live.url}/health/ready")).status_code != 200:
            assert all("runs that do not end" in one for one in ready.json()["reasons"])
        assert classify(live.url, "bright").status_code == 200


def test_after_two_stuck_runs_a_model_rests_and_the_service_stays_ready(tmp_path: Path) -> None:
    write_servable(tmp_path, "bright", model=endless_when_bright())
    write_servable(tmp_path, "colors")
    with serve(models=tmp_path, stuck_seconds=3, threads=2, health_check_seconds=3600) as live:
        with ThreadPoolExecutor(2) as clients:
            for answer in clients.map(lambda _: classify(live.url, "bright", BRIGHT), range(2)):
                problem(answer, 503, "run_stuck")
        refused = classify(live.url, "bright")
        assert "is not run again for 3 s" in problem(refused, 503, "model_not_ready")
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        (model,) = httpx.get(f"{live.url}/v1/models/bright").json()["models"]
        assert model["state"] == "failed"
        assert httpx.get(f"{live.url}/health/ready").status_code == 200
        assert classify(live.url, "colors").status_code == 200
        while (again := classify(live.url, "bright")).status_code != 200:
            problem(again, 503, "model_not_ready")
            time.sleep(0.1)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_other_models_go_on_long_before_stuck_runs_are_given_up(
    tmp_path: Path, threads: int
) -> None:
    write_servable(tmp_path, "bright", model=endless_when_bright())
    write_servable(tmp_path, "colors")
    with (
        serve(models=tmp_path, stuck_seconds=12, threads=threads) as live,
        ThreadPoolExecutor(threads) as clients,
        httpx.Client(base_url=live.url, timeout=30) as neighbor,
    ):
        path = "/v1/classify?model=colors"
        assert neighbor.post(path, content=DARK).status_code == 200
        stuck = [clients.submit(classify, live.url, "bright", BRIGHT) for _ in range(threads)]
        wait_until_it_runs(live, "bright")
        for _ in range(3):
            assert neighbor.post(path, content=DARK).status_code == 200
        assert not any(one.done() for one in stuck)
        for one in stuck:
            problem(one.result(), 503, "run_stuck")


def test_a_network_that_never_loads_keeps_neither_the_others_nor_the_end(tmp_path: Path) -> None:
    write_servable(tmp_path, "a-endless", model=endless())
    write_servable(tmp_path, "colors")
    with start(models=tmp_path, load_seconds=0.1, grace_seconds=0) as service:
        ready = httpx.get(f"{service.url}/health/ready")
        assert ready.status_code == 503
        assert ready.json()["reasons"] == [
            "a-endless version 1 has been loading for more than 0.1 s"
        ]
        assert classify(service.url, "colors").status_code == 200
        problem(classify(service.url, "a-endless"), 503, "model_not_ready")
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_for_exit() == 0
    assert service.logged("1 networks do not end")


def test_a_service_that_has_a_stuck_run_ends_with_its_signal(tmp_path: Path) -> None:
    write_servable(tmp_path, "bright", model=endless_when_bright())
    with start(models=tmp_path, stuck_seconds=2, grace_seconds=0, threads=1) as service:
        codes: list[int] = []

        def ask() -> None:
            codes.append(classify(service.url, "bright", BRIGHT).status_code)

        before = batches(service.url)
        asking = threading.Thread(target=ask)
        asking.start()
        while batches(service.url) == before:
            time.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_for_exit() == 0
        asking.join()
    assert codes == [503], "it was accepted, so it is answered"


@pytest.mark.slow
def test_a_worker_gives_up_a_stuck_run_and_ends_beside_one_and_a_network_that_never_loads(
    tmp_path: Path,
) -> None:
    write_servable(tmp_path, "a-endless", model=endless())
    write_servable(tmp_path, "bright", model=endless_when_bright())
    write_servable(tmp_path, "colors")
    with start(
        models=tmp_path, workers=2, threads=2, stuck_seconds=1, load_seconds=0.1, grace_seconds=0
    ) as service:
        reasons = httpx.get(f"{service.url}/health/ready").json()["reasons"]
        assert all("a-endless version 1 has been loading" in one for one in reasons)
        for image, status in ((DARK, 200), (BRIGHT, 503), (DARK, 200)):
            answer = classify(service.url, "bright", image)
            assert answer.status_code == status, answer.text
        assert classify(service.url, "colors").status_code == 200
        lines = httpx.get(f"{service.url}/metrics").text.splitlines()
        stuck = [one for one in lines if one.startswith("foveal_stuck_batches_total{")]
        assert sum(float(one.split()[-1]) for one in stuck) == 1
        asking = threading.Thread(target=classify, args=(service.url, "bright", BRIGHT))
        before = batches(service.url)
        asking.start()
        while batches(service.url) == before:
            time.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_for_exit() == 0
        asking.join()
    assert service.logged("networks do not end; the process ends without them")


def gpu_that_fails(models: Path) -> None:
    """Write a network that fails on a bright image with a message as of a GPU; it runs on the CPU."""
    write_servable(models, model=failing_when_bright("CUDA failure 700"))


def test_a_model_whose_node_is_named_as_a_failure_of_a_gpu_fails_alone(tmp_path: Path) -> None:
    gpu_that_fails(tmp_path)
    with serve(models=tmp_path) as live:
        problem(classify(live.url, "colors", BRIGHT), 500, "inference_failed")
        assert classify(live.url, "colors").status_code == 200
        assert not live.services.engine.device_lost


def test_a_process_that_loses_its_gpu_ends_with_an_error(tmp_path: Path) -> None:
    gpu_that_fails(tmp_path)
    with start("tests.lost_gpu", models=tmp_path, grace_seconds=0) as service:
        assert classify(service.url, "colors").status_code == 200
        problem(classify(service.url, "colors", BRIGHT), 503, "unavailable")
        assert service.wait_for_exit() == 1
    assert service.logged("The GPU failed: .*CUDA failure 700")


def test_a_worker_that_loses_its_gpu_is_replaced(tmp_path: Path) -> None:
    gpu_that_fails(tmp_path)
    with start("tests.lost_gpu", models=tmp_path, grace_seconds=0, workers=2) as service:
        problem(classify(service.url, "colors", BRIGHT), 503, "unavailable")
        while not service.logged(r"^worker \d serves again$"):
            time.sleep(0.01)
        for _ in range(5):
            assert classify(service.url, "colors").status_code == 200
    assert len(service.logged("The GPU failed: ")) == 1


def test_a_model_whose_file_is_deleted_under_it_goes_on_and_is_not_explained(
    tmp_path: Path,
) -> None:
    shutil.copytree(MODELS / "lenet5", tmp_path / "lenet5")
    with serve(models=tmp_path) as live:
        (tmp_path / "lenet5" / "1" / "model.onnx").unlink()
        assert classify(live.url, "lenet5").status_code == 200
        explained = httpx.post(
            f"{live.url}/v1/explain?view=maps&model=lenet5", content=DARK, timeout=30
        )
        assert "its file can not be read" in problem(explained, 503, "model_not_ready")
        assert httpx.get(f"{live.url}/health/ready").status_code == 200


def write_mapped(models: Path) -> tuple[str, Path]:
    """Write EfficientNet-Lite0 with its weights in a file beside it; return its name and that file."""
    source = MODELS / "efficientnet-lite0" / "1" / "model.onnx"
    network, card = onnx.load(source), read_card(source)
    digest = graph_digest(network, 1, card.certificate.digest)
    certificate = card.certificate.model_copy(update={"graph_sha256": digest})
    path = models / card.name / "1" / "model.onnx"
    write_split(path, network, card.model_copy(update={"certificate": certificate}), limit=1)
    return card.name, path.with_name(path.name + DATA_SUFFIX)


def test_a_model_whose_mapped_weights_are_replaced_by_a_rename_goes_on(tmp_path: Path) -> None:
    model, weights = write_mapped(tmp_path)
    with serve(models=tmp_path) as live:
        before = classify(live.url, model)
        other = tmp_path / "other"
        other.write_bytes(b"no weights")
        other.replace(weights)
        assert classify(live.url, model).content == before.content
        weights.unlink()
        assert classify(live.url, model).content == before.content
        assert before.status_code == 200


def test_where_mapped_weights_are_cut_the_worker_is_replaced_without_that_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, weights = write_mapped(tmp_path)
    write_servable(tmp_path, "colors")
    with start(models=tmp_path, workers=2, grace_seconds=0) as service:
        assert classify(service.url, model).status_code == 200
        with weights.open("r+b") as file:
            file.truncate(1000)
        while len(service.logged(r"^worker \d serves again$")) < 2:
            with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                classify(service.url, model)
        for _ in range(6):
            assert "failed to load" in problem(classify(service.url, model), 503, "model_not_ready")
            assert classify(service.url, "colors").status_code == 200
    assert len(service.logged(r"was ended by SIGBUS, which .* weights beside a model")) == 2
    assert service.logged(r"is not served: .*the weights were changed after they were proved")
    assert capfd.readouterr().err.count("Fatal Python error: Bus error") == 2
