"""`FOVEAL_DECODE=isolated` as clients and operators see it: the same answers, and bad images that hurt nobody else."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.clips import counting, encode_clip, tone
from tests.images import encode, plain
from tests.live import Live, problem, serve, start
from tests.processes import children, has_ended, most_files, open_files
from tests.servables import write_servable

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def isolated() -> Iterator[httpx.Client]:
    with serve(decode="isolated") as service, httpx.Client(base_url=service.url, timeout=15) as one:
        yield one


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service whose decoders do what the last line of an image says."""
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    with serve(
        models=root,
        threads=1,
        decode="isolated",
        decode_memory_bytes=200 << 20,
        decode_seconds=1.5,
        decoder_program="tests.bad_decoder",
    ) as service:
        yield service


def without_id(response: httpx.Response) -> tuple[int, str, bytes]:
    """Return status, type and body, without the request's own id."""
    body = response.content
    if response.headers["content-type"] == "application/problem+json":
        body = json.dumps({**response.json(), "request_id": ""}).encode()
    return response.status_code, response.headers["content-type"], body


def test_every_bundled_file_has_the_same_answer_as_without(
    client: httpx.Client, isolated: httpx.Client
) -> None:
    files = [file for file in DATA.rglob("*") if file.is_file()]
    assert len(files) > 50
    statuses = set()
    for file in files:
        path, body = "/v1/classify?model=lenet5", file.read_bytes()
        answer = without_id(isolated.post(path, content=body))
        assert answer == without_id(client.post(path, content=body)), file.name
        statuses.add(answer[0])
    assert statuses >= {200, 415, 422}


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def cat(form: str, mode: str = "RGB", **options: object) -> bytes:
    image = Image.open(DATA / "cat.jpg").resize((150, 110)).convert(mode)
    return encode(image, form, icc_profile=PROFILE, **options)


def assert_same_image(
    client: httpx.Client, isolated: httpx.Client, path: str, body: bytes, media_type: str
) -> None:
    headers = {"Accept": media_type}
    answer = isolated.post(path, content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.content == client.post(path, content=body, headers=headers).content


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("TIFF", "RGB"), ("WEBP", "RGB"), ("AVIF", "RGB")],
)
def test_an_image_that_is_drawn_on_has_the_same_bytes(
    client: httpx.Client, isolated: httpx.Client, form: str, mode: str
) -> None:
    path = "/v1/detect?format=overlay"
    assert_same_image(client, isolated, path, cat(form, mode), "image/png")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/v1/detect?format=overlay", "image/jpeg"),
        ("/v1/segment?model=u2netp&format=cutout", "image/png"),
        ("/v1/explain?view=cam&format=overlay", "image/png"),
    ],
)
def test_each_drawing_has_the_same_bytes(
    client: httpx.Client, isolated: httpx.Client, path: str, media_type: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = cat("JPEG", comment=b"hello", exif=exif)
    assert_same_image(client, isolated, path, body, media_type)


@pytest.mark.parametrize(
    ("name", "status", "code", "reason"),
    [
        ("segfault", 422, "broken_image", "crash"),
        ("abort", 422, "broken_image", "crash"),
        ("allocate", 422, "bad_image", "memory"),
        ("sleep", 422, "bad_image", "time"),
        ("killed", 503, "unavailable", "killed"),
        ("bug", 500, "inference_failed", "reply"),
    ],
)
def test_a_bad_image_costs_its_own_request_alone(
    bad: Live, name: str, status: int, code: str, reason: str
) -> None:
    before = bad.sample("foveal_decoder_restarts_total", reason=reason)
    body, good = plain("red") + b"\n" + name.encode(), plain("lime")
    with httpx.Client(base_url=bad.url, timeout=15) as http, ThreadPoolExecutor(4) as threads:
        answers = [
            threads.submit(http.post, "/v1/classify", content=image)
            for image in (body, good, good, good)
        ]
        problem(answers[0].result(), status, code)
        assert all(answer.result().status_code == 200 for answer in answers[1:])
        assert http.post("/v1/classify", content=good).status_code == 200
    assert bad.sample("foveal_decoder_restarts_total", reason=reason) == before + 1


def test_a_bad_image_among_several_has_its_own_error(bad: Live) -> None:
    images = [plain("red"), plain("red") + b"\nsegfault", plain("lime")]
    files = [("file", (f"{index}.png", image)) for index, image in enumerate(images)]
    answer = httpx.post(f"{bad.url}/v1/classify", files=files, timeout=15)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert results[1]["error"]["code"] == "broken_image"
    assert "predictions" in results[0]
    assert "predictions" in results[2]


def test_an_image_that_hangs_is_late_by_its_own_deadline(bad: Live) -> None:
    answer = httpx.post(
        f"{bad.url}/v1/classify",
        content=plain("red") + b"\nsleep",
        headers={"X-Timeout-Ms": "300"},
        timeout=15,
    )
    problem(answer, 504, "deadline_exceeded")
    assert (
        httpx.post(f"{bad.url}/v1/classify", content=plain("lime"), timeout=15).status_code == 200
    )


def test_decoders_have_no_socket_but_their_own_and_end_with_the_service(repository: Path) -> None:
    with start(models=repository, decode="isolated", threads=1) as service:
        while httpx.get(f"{service.url}/health/ready").status_code != 200:
            pass
        body = plain("red", form="TIFF")
        while len(children(service.process.pid)) < 2:
            assert httpx.post(f"{service.url}/v1/classify", content=body).status_code == 200
        decoders = children(service.process.pid)
        for pid in decoders:
            while most_files(pid) != 3:  # Python starts
                pass
            files = open_files(pid)
            assert len(files) == 3
            assert sum(name.startswith("socket:") for name in files) == 1
            os.kill(pid, signal.SIGSTOP)  # one that is stuck in a library reads nothing either
        os.kill(service.process.pid, signal.SIGKILL)
        while not all(has_ended(pid) for pid in decoders):
            pass


def test_decoders_are_left_alone_by_the_signals_of_a_terminal_and_end_after_the_last_image(
    repository: Path,
) -> None:
    with start(models=repository, decode="isolated", threads=1, grace_seconds=30) as service:
        while len(children(service.process.pid)) < 2:
            httpx.post(f"{service.url}/v1/classify", content=plain("red"))
        decoders = children(service.process.pid)
        for pid in (service.process.pid, *decoders):  # as systemd does
            os.kill(pid, signal.SIGTERM)
        assert httpx.post(f"{service.url}/v1/classify", content=plain("red")).status_code == 200
        assert set(decoders) == set(children(service.process.pid))
        service.process.send_signal(signal.SIGINT)
        assert service.wait_for_exit() == 0
        assert all(has_ended(pid) for pid in decoders)


VIDEOS: dict[str, Callable[[], bytes]] = {
    "mp4": lambda: counting(30),
    "webm": lambda: counting(12, "webm", "libvpx"),
    "avi": lambda: counting(12, "avi", "mjpeg"),
    "gif": lambda: counting(12, "gif", "gif"),
    "alpha": (DATA / "cases" / "vp9-alpha.webm").read_bytes,
    "cut": lambda: counting(60)[: len(counting(60)) // 2],
    "stripped": lambda: counting(12).replace(b"\n", b"").replace(b"\r", b""),
    "an image": lambda: plain("red"),
    "sound": tone,
    "text": lambda: b"text",
}


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
def test_a_video_has_the_same_answer_as_without(
    client: httpx.Client, isolated: httpx.Client, name: str, media_type: str
) -> None:
    path, body = "/v1/video?task=classify&model=lenet5&fps=5", VIDEOS[name]()
    headers = {"Accept": media_type}
    answer = isolated.post(path, content=body, headers=headers)
    assert without_id(answer) == without_id(client.post(path, content=body, headers=headers))
    assert answer.status_code in {200, 415, 422}


def test_a_video_that_is_drawn_on_has_the_same_bytes(
    client: httpx.Client, isolated: httpx.Client
) -> None:
    path = "/v1/video?task=classify&model=lenet5&fps=5&format=overlay"
    answer = isolated.post(path, content=counting(30))
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content == client.post(path, content=counting(30)).content


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service whose decoders may take little memory."""
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    with serve(
        models=root,
        threads=1,
        decode="isolated",
        decode_memory_bytes=64 << 20,
        max_fan_outs=1,
    ) as service:
        yield service


def greedy() -> bytes:
    """Return a short H.264 of large frames in 4:4:4, of which a decoder keeps sixteen."""
    image = np.zeros((1088, 1920, 3), np.uint8)
    options = {"preset": "ultrafast", "x264-params": "ref=16:keyint=60:threads=1"}
    return encode_clip([image] * 20, pixel_format="yuv444p10le", options=options)


def test_a_video_that_needs_much_memory_costs_its_own_request_alone(tight: Live) -> None:
    url = f"{tight.url}/v1/video?every_n=5"
    before = tight.sample("foveal_decoder_restarts_total", reason="memory")
    with httpx.Client(timeout=30) as http, ThreadPoolExecutor(2) as threads:
        sent = threads.submit(http.post, url, content=greedy())
        while not sent.done():
            answer = http.post(f"{tight.url}/v1/classify", content=plain("lime"))
            assert answer.status_code == 200
        problem(sent.result(), 422, "bad_video")
        assert "more memory than the 64 MiB" in sent.result().json()["detail"]
        assert tight.sample("foveal_decoder_restarts_total", reason="memory") == before + 1
        assert http.post(url, content=counting(12)).status_code == 200


def videos_of(pid: int) -> list[int]:
    """Return the processes of videos that a process has."""
    return [one for one in children(pid) if b"service.video.isolated.process" in command_of(one)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return b""


def test_the_process_of_a_video_ends_with_it_and_when_its_client_leaves(tight: Live) -> None:
    body = counting(60)
    assert httpx.post(f"{tight.url}/v1/video?every_n=5", content=body, timeout=30).is_success
    while videos_of(os.getpid()):
        pass
    for _ in range(3):  # more than there are places
        with socket.create_connection(tight.address) as leaver:
            head = f"POST /v1/video?every_n=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) * 100}\r\n\r\n"
            leaver.sendall(head.encode() + body * 10)
            while not videos_of(os.getpid()):
                pass
        while videos_of(os.getpid()):
            pass
    assert httpx.post(f"{tight.url}/v1/video?every_n=5", content=body, timeout=30).is_success
    assert tight.sample("foveal_decoder_restarts_total", reason="killed") == 0
