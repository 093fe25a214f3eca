"""The kernel ends a process for want of memory, as in a container with a limit: which ends, and which go on."""

import base64
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests import in_group
from tests.cgroups import add, memory_group
from tests.clips import avi_of, counting, encode_clip, ramp
from tests.hostile_networks import with_nodes
from tests.images import encode, plain
from tests.keys import bearer, write_keys
from tests.live import Process, bundled, problem, start
from tests.processes import children, has_ended
from tests.servables import color_model, write_servable

LIMIT_BYTES = 400 << 20
"""More than a worker of a tiny model takes to start, and less than the image takes."""


@pytest.fixture(scope="module")
def dear() -> bytes:
    """A WebP of 40 KB whose decoder takes 600 MB."""
    return encode(Image.new("RGB", (6000, 6000)), "WEBP", method=0)


@pytest.fixture
def group() -> Iterator[Path]:
    with memory_group(LIMIT_BYTES) as made:
        yield made


def sample(service: Process, name: str, **labels: str) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    return sum(
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    )


def classify(service: Process, query: str = "") -> str:
    """Classify a small image over a new connection; return the process that answered."""
    answer = httpx.post(f"{service.url}/v1/classify?{query}", content=plain("red"), timeout=10)
    assert answer.status_code == 200
    return answer.headers["x-request-id"][:20]


def test_a_worker_that_the_kernel_ends_for_want_of_memory_dies_alone(
    group: Path, dear: bytes, repository: Path
) -> None:
    with start(models=repository, workers=2, log_level="debug") as service:
        supervisor = service.process.pid
        workers = [int(found[1]) for found in service.logged(r"^worker \d has pid (\d+)$")]
        add(group, [supervisor, *workers])
        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            httpx.post(f"{service.url}/v1/classify", content=dear, timeout=15)
        while not any(map(has_ended, workers)):
            pass
        assert not all(map(has_ended, workers))
        assert len({classify(service) for _ in range(5)}) == 1  # the other worker
        while not service.logged(r"^worker \d serves again$"):
            classify(service)
        (reason,) = service.logged(r"was ended by SIGKILL.*")
        assert "which the kernel sends when memory is short" in reason.group()
        assert "the memory of" in reason.group()
        assert "was used up, as oom_kill of the control group says" in reason.group()
        assert sample(service, "foveal_worker_restarts_total") == 1
        assert sample(service, "foveal_workers") == 2
        assert service.process.poll() is None


def test_an_isolated_decoder_that_the_kernel_ends_dies_in_place_of_its_service(
    group: Path, dear: bytes, repository: Path
) -> None:
    with start(models=repository, decode="isolated", threads=1) as service:
        classify(service)
        pid = service.process.pid
        add(group, [pid, *children(pid)])
        answer = httpx.post(f"{service.url}/v1/classify", content=dear, timeout=15)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
        classify(service)
        assert sample(service, "foveal_decoder_restarts_total", reason="killed") == 1
        assert service.process.poll() is None


def test_the_process_of_a_video_that_the_kernel_ends_dies_in_place_of_its_service(
    group: Path, repository: Path
) -> None:
    image = np.zeros((2048, 2048, 3), np.uint8)
    options = {"preset": "ultrafast", "x264-params": "ref=16:keyint=60:threads=1"}
    greedy = encode_clip([image] * 20, pixel_format="yuv444p10le", options=options)
    with start(models=repository, decode="isolated", threads=1) as service:
        classify(service)
        pid = service.process.pid
        add(group, [pid, *children(pid)])
        url = f"{service.url}/v1/video?every_n=1"
        problem(httpx.post(url, content=greedy, timeout=40), 503, "unavailable")
        classify(service)
        assert httpx.post(url, content=counting(5), timeout=40).status_code == 200
        assert sample(service, "foveal_decoder_restarts_total", reason="killed") == 1
        assert service.process.poll() is None


def limited(size: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let what the test starts have so much memory."""
    with memory_group(size) as made:
        monkeypatch.setenv(in_group.GROUP_VARIABLE, str(made))
        yield made


SMALL_BYTES = 700 << 20
"""Of a container in which two workers of a tiny model start, and an image of 36 million pixels does not fit."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from limited(SMALL_BYTES, monkeypatch)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("decode", ["threads", "isolated"])
def test_an_image_that_a_small_container_has_no_room_for_is_refused_and_ends_nobody(
    dear: bytes, repository: Path, workers: int, decode: str
) -> None:
    settings = {"models": repository, "workers": workers, "decode": decode, "threads": 1}
    with start("tests.in_group", **settings) as service, ThreadPoolExecutor(12) as clients:
        assert len(service.logged(r"Images may have .* million pixels, not 64 million")) == workers

        def send(_: int) -> httpx.Response:
            return httpx.post(f"{service.url}/v1/classify", content=dear, timeout=15)

        answers = list(clients.map(send, range(12)))
        assert Counter(answer.status_code for answer in answers) == {413: 12}
        detail = problem(answers[0], 413, "too_many_pixels")
        assert "that the memory of the service has room for" in detail
        assert "FOVEAL_MAX_PIXELS" in detail
        classify(service)
        assert not service.logged(r"was ended by")
        if workers > 1:
            assert sample(service, "foveal_worker_restarts_total") == 0
        assert service.process.poll() is None


@pytest.mark.usefixtures("small")
def test_a_largest_image_that_the_operator_chose_counts_although_it_may_not_fit(
    repository: Path,
) -> None:
    with start("tests.in_group", models=repository, max_pixels=64_000_000) as service:
        (line,) = service.logged(r"FOVEAL_MAX_PIXELS allows more than the .* million pixels")
        assert "kernel may end it" in line.string
        image = encode(Image.new("L", (7900, 7900)), "PNG")
        answer = httpx.post(f"{service.url}/v1/classify", content=image, timeout=15)
        assert answer.status_code == 200


@pytest.mark.usefixtures("small")
def test_a_jpeg_that_is_not_drawn_on_may_be_twice_as_large(repository: Path) -> None:
    with start("tests.in_group", models=repository, workers=2) as service:
        found = service.logged(r"Images may have (.*) million pixels, not")
        side = round((min(float(one[1]) for one in found) * 1.5e6) ** 0.5)
        image = Image.new("RGB", (side, side))
        answer = httpx.post(f"{service.url}/v1/classify", content=encode(image, "JPEG"), timeout=15)
        assert answer.status_code == 200
        large = httpx.post(f"{service.url}/v1/classify", content=encode(image, "PNG"), timeout=15)
        problem(large, 413, "too_many_pixels")


def large_network(mebibytes: int = 250) -> onnx.ModelProto:
    """Return the tiny network with a constant of so many MiB; the parser holds it, and a copy of it is made."""
    model, count = color_model(), mebibytes << 18
    constant = helper.make_tensor("large", TensorProto.FLOAT, [count], bytes(4 * count), raw=True)
    model.graph.initializer.append(constant)
    return model


def convolved_network() -> onnx.ModelProto:
    """Return the tiny network with a convolution of 100 MiB behind it, which is laid out anew with three copies."""
    model = color_model()
    graph = model.graph
    shapes = {"widen": (1024, 3, 1, 1), "large": (1024, 1024, 5, 5)}
    for name, shape in shapes.items():
        values = bytes(4 * math.prod(shape))
        graph.initializer.append(
            helper.make_tensor(name, TensorProto.FLOAT, shape, values, raw=True)
        )
    graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]))
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    softmax.input[0] = "sum"
    added = [
        helper.make_node("Unsqueeze", ["logits", "axes"], ["map"]),
        helper.make_node("Conv", ["map", "widen"], ["wide"]),
        helper.make_node("Conv", ["wide", "large"], ["found"], pads=[2, 2, 2, 2]),
        helper.make_node("ReduceMean", ["found"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Add", ["logits", "one"], ["sum"]),
    ]
    at = list(graph.node).index(softmax)
    for node in reversed(added):
        graph.node.insert(at, node)
    return model


def made_network() -> onnx.ModelProto:
    """Return the tiny network with a constant of 250 MiB that is made when it is loaded, of a kilobyte, and copied."""
    node = helper.make_node("ConstantOfShape", ["shape"], ["made"])
    return with_nodes([node], "made", {"shape": np.array([250 << 18])})


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from limited(LIMIT_BYTES, monkeypatch)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("network", "workers"),
    [(large_network, 1), (large_network, 2), (convolved_network, 1), (made_network, 1)],
)
def test_a_network_that_the_memory_has_no_room_for_is_refused_and_the_others_are_served(
    repository: Path, tmp_path: Path, network: Callable[[], onnx.ModelProto], workers: int
) -> None:
    write_servable(repository, "large", model=network())
    keys = write_keys(tmp_path / "keys.toml", {"admin": ["infer", "admin"]})
    settings = {"models": repository, "workers": workers, "keys": keys, "admin": "true"}
    with (
        start("tests.in_group", **settings) as service,
        httpx.Client(base_url=service.url, headers=bearer("admin"), timeout=60) as client,
    ):
        models = {one["name"]: one for one in client.get("/v1/models").json()["models"]}
        assert models["colors"]["state"] == "ready"
        assert models["large"]["state"] == "failed"
        reason = models["large"]["reason"]
        assert re.search(
            r"large/1/model\.onnx: to load it takes at least 475 MiB of memory, and \d+ of 400 MiB are",
            reason,
        )
        assert client.post("/v1/classify?model=colors", content=plain("red")).status_code == 200
        fails = client.post("/v1/classify?model=large", content=plain("red"))
        problem(fails, 503, "model_not_ready")

        sent = (repository / "large/1/model.onnx").read_bytes()
        refused = client.put("/v1/models/sent/versions/1", content=sent)
        detail = problem(refused, 422, "refused_model")
        assert detail.startswith("sent/1/model.onnx: to load it takes at least 475 MiB of memory")
        assert not (repository / "sent").exists()
        assert not service.logged(r"was ended by")
        assert service.process.poll() is None


@pytest.mark.usefixtures("tiny")
def test_a_network_that_fits_is_served_where_little_more_than_it_takes_is_left(
    repository: Path,
) -> None:
    write_servable(repository, "large", model=large_network(100))
    with start("tests.in_group", models=repository) as service:
        assert service.logged(r"^large version 1 is ready after")
        classify(service, "model=large")


def test_workers_that_have_too_little_memory_are_said_to_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = bundled(tmp_path, "efficientnet-lite0", "lenet5", "ssdlite-mobilenet-v2", "u2netp")
    with memory_group(880 << 20) as group:
        monkeypatch.setenv(in_group.GROUP_VARIABLE, str(group))
        with start("tests.in_group", models=models, workers=2, threads=2) as service:
            (line,) = service.logged(r"^The memory is too little for 2 workers: 880 MiB in all")
            assert re.search(
                r"Set FOVEAL_WORKERS=1, or give the service at least \d+ MiB", line.string
            )
            assert not service.logged(r"was ended by")
            assert service.process.poll() is None


MODELS_BYTES = 768 << 20
"""Of a container that has room for four of the bundled models and for images of some million pixels."""


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held, in bytes."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) << 10


def test_a_heavy_network_takes_no_more_memory_after_it_is_ready(tmp_path: Path) -> None:
    with start(models=bundled(tmp_path, "u2netp"), threads=2) as service:
        assert service.logged(r"u2netp.* is ready after")
        loaded = peak_bytes(service.process.pid)
        for _ in range(3):
            answer = httpx.post(f"{service.url}/v1/segment", content=plain("red"), timeout=60)
            assert answer.status_code == 200
        assert peak_bytes(service.process.pid) - loaded < 100 << 20


def test_masks_of_the_largest_images_fit_into_a_small_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("efficientnet-lite0", "lenet5", "ssdlite-mobilenet-v2", "u2netp")
    models = bundled(tmp_path, *names)
    with memory_group(MODELS_BYTES) as group:
        monkeypatch.setenv(in_group.GROUP_VARIABLE, str(group))
        with start("tests.in_group", models=models, threads=2) as service:
            (found,) = service.logged(r"Images may have (.*) million pixels, not 64 million")
            side = int((float(found[1]) * 0.9e6) ** 0.5)
            body = encode(Image.new("L", (side, side)), "PNG")

            def send(query: str) -> int:
                url = f"{service.url}/v1/segment?model=u2netp&{query}"
                return httpx.post(url, content=body, timeout=60).status_code

            with ThreadPoolExecutor(4) as clients:
                answers = list(clients.map(send, ["format=mask", "polygons=true"] * 2))
            assert 200 in answers
            assert set(answers) <= {200, 504}, answers
            assert service.process.poll() is None


@pytest.mark.usefixtures("small")
def test_the_bodies_of_many_clients_fit_into_a_small_container_one_after_the_other(
    repository: Path,
) -> None:
    image = plain("red")
    whole = image + bytes(30_000_000)
    text = b'{"images": ["' + base64.b64encode(whole[:20_000_000]) + b'"]}'
    with start("tests.in_group", models=repository) as service, ThreadPoolExecutor(24) as clients:

        def send(client: int) -> httpx.Response:
            body = whole if client % 2 else text
            return httpx.post(f"{service.url}/v1/classify", content=body, timeout=60)

        sent = [clients.submit(send, client) for client in range(24)]
        while not all(one.done() for one in sent):
            classify(service)
        assert {one.result().status_code for one in sent} == {200}
        assert service.process.poll() is None


@contextmanager
def home_of_files(content: bytes) -> Iterator[str]:
    """Serve files as Label Studio has them: below `/data/cut` they end one byte before their end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(content[:-1] if self.path.startswith("/data/cut") else content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("small")
def test_the_images_that_many_clients_name_by_url_fit_into_a_small_container(
    repository: Path,
) -> None:
    content = plain("red") + bytes(30_000_000)
    label_config = (
        '<View><Image name="i" value="$image"/><Choices name="c" toName="i">'
        '<Choice value="red"/></Choices></View>'
    )
    images = ("/data/cut/1", "/data/cut/2", "/data/whole")
    asked = {"tasks": [{"data": {"image": one}} for one in images], "label_config": label_config}
    with (
        home_of_files(content) as home,
        start(
            "tests.in_group", models=repository, label_studio_url=home, timeout_ms=120_000
        ) as service,
        ThreadPoolExecutor(12) as clients,
    ):

        def send(_: int) -> list[str]:
            url = f"{service.url}/label-studio/predict"
            answer = httpx.post(url, json=asked, timeout=150)
            assert answer.status_code == 200, answer.text
            return [
                "error" if "error" in one else one["result"][0]["value"]["choices"][0]
                for one in answer.json()["results"]
            ]

        sent = [clients.submit(send, client) for client in range(12)]
        while not all(one.done() for one in sent):
            classify(service)
        assert [one.result() for one in sent] == [["error", "error", "red"]] * 12
        assert service.process.poll() is None


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("mebibytes", "more"), [(400, ()), (640, ("ssdlite-mobilenet-v2", "u2netp"))]
)
def test_large_videos_at_once_wait_or_are_refused_and_small_images_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: int, more: tuple[str, ...]
) -> None:
    noise = encode(Image.effect_noise((1280, 720), 200).convert("RGB"), "JPEG", quality=98)
    video = avi_of([noise] * 40)
    assert len(video) > 50_000_000
    models = bundled(tmp_path, "efficientnet-lite0", "lenet5", *more)
    with memory_group(mebibytes << 20) as group:
        monkeypatch.setenv(in_group.GROUP_VARIABLE, str(group))
        with (
            start("tests.in_group", models=models, threads=2) as service,
            ThreadPoolExecutor(8) as clients,
        ):

            def send(_: int) -> httpx.Response:
                url = f"{service.url}/v1/video?task=classify&model=efficientnet-lite0&fps=10"
                return httpx.post(url, content=video, timeout=120)

            sent = [clients.submit(send, client) for client in range(4)]
            while not all(one.done() for one in sent):
                classify(service, "model=lenet5")
            answers = Counter(one.result().status_code for one in sent)
            assert answers[200], answers
            assert set(answers) <= {200, 503}, answers
            assert send(0).status_code == 200
            assert service.process.poll() is None


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("mebibytes", "wanted"), [(512, {413}), (640, {200, 503})])
def test_videos_that_are_drawn_beside_images_fit_into_a_small_container_or_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: int, wanted: set[int]
) -> None:
    """In 512 MiB four of the bundled models leave too little for 1280×720 pixels, and enough for 480×270."""
    video, small = (
        encode_clip(np.roll(ramp(30, size), 8 * number, axis=1) for number in range(20))
        for size in ((1280, 720), (480, 270))
    )
    noise = encode(Image.effect_noise((1400, 1000), 200).convert("RGB"), "PNG")
    names = ("efficientnet-lite0", "lenet5", "ssdlite-mobilenet-v2", "u2netp")
    models = bundled(tmp_path, *names)
    with memory_group(mebibytes << 20) as group:
        monkeypatch.setenv(in_group.GROUP_VARIABLE, str(group))
        with (
            start("tests.in_group", models=models, threads=2) as service,
            ThreadPoolExecutor(8) as clients,
        ):

            def send(body: bytes) -> httpx.Response:
                url = f"{service.url}/v1/video?task=detect&fps=5&format=overlay"
                return httpx.post(url, content=body, timeout=120)

            sent = [clients.submit(send, video) for _ in range(3)]
            while not all(one.done() for one in sent):
                url = f"{service.url}/v1/detect?format=overlay"
                assert httpx.post(url, content=noise, timeout=60).status_code in {200, 503, 504}
            answers = [one.result() for one in sent]
            assert {answer.status_code for answer in answers} <= wanted
            if 413 in wanted:
                assert problem(answers[0], 413, "too_many_pixels").startswith("To draw the results")
            else:
                assert 200 in {answer.status_code for answer in answers}
            assert send(small).status_code == 200
            assert service.process.poll() is None


def test_explanations_fit_into_a_small_container_or_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its inner maps U²-Net-p takes 400 MB, EfficientNet-Lite0 12; a run for a result needs memory beside them."""
    models = bundled(tmp_path, "efficientnet-lite0", "u2netp")
    image = plain("red")
    with memory_group(MODELS_BYTES) as group:
        monkeypatch.setenv(in_group.GROUP_VARIABLE, str(group))
        with start("tests.in_group", models=models, threads=2) as service:

            def send(query: str) -> httpx.Response:
                return httpx.post(f"{service.url}/v1/{query}", content=image, timeout=60)

            asked = [
                "explain?model=u2netp&view=maps",
                "explain?model=efficientnet-lite0&view=maps",
                "segment?model=u2netp",
            ]
            with ThreadPoolExecutor(6) as clients:
                answers = list(clients.map(send, asked * 2))
            assert [one.status_code for one in answers] == [503, 200, 200] * 2
            detail = problem(answers[0], 503, "unavailable")
            assert re.match(r"Explaining u2netp takes about \d+ MiB, and the memory", detail)
            assert "retry-after" not in answers[0].headers
            assert service.process.poll() is None
