"""Clips through a real server: every task, every form of answer, and clients and clips that misbehave."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from exporter.export import export
from exporter.progress import SilentProgress
from exporter.recipe import Recipe
from exporter.recipe_tables import WindowRecipe
from tests.clips import (
    HEADER_FIRST,
    Pixels,
    bikes,
    counting,
    empty,
    encode_clip,
    ramp,
    stored_frames,
    tone,
    with_samples,
)
from tests.images import encode, photograph
from tests.live import Live, problem, serve, start
from tests.servables import color_card, color_model, write_servable

NDJSON = {"Accept": "application/x-ndjson"}
EVENTS = {"Accept": "text/event-stream"}


def watch(client: httpx.Client, body: bytes, query: str = "") -> dict[str, Any]:
    response = client.post(f"/v1/video?{query}", content=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.iter_lines() if line]


def stored_images(body: bytes) -> list[Image.Image]:
    return [Image.fromarray(pixels) for _, pixels in stored_frames(body)]


def test_a_frame_gets_the_answer_that_it_gets_as_a_image(client: httpx.Client) -> None:
    found = watch(client, bikes(), "max_frames=3&top_k=3")
    assert [frame["number"] for frame in found["frames"]] == [41, 125, 208]
    stored = stored_images(bikes())
    for frame in found["frames"]:
        image = encode(stored[frame["number"]])
        alone = client.post("/v1/classify?top_k=3", content=image).json()["results"][0]
        assert frame["predictions"] == alone["predictions"]
    assert found["video"] == {
        "container": "mov", "codec": "h264", "width": 640, "height": 272, "rotation": 0, "fps": 25.0,
        "seconds": 10.0, "decoded": found["video"]["decoded"], "sampled": 3,
        "skipped": 250 - found["video"]["decoded"],
    }  # fmt: skip


def test_two_frames_a_second_are_sampled_by_default(client: httpx.Client) -> None:
    found = watch(client, bikes())
    assert (found["task"], found["ended"]) == ("classify", "complete")
    times = [frame["time"] for frame in found["frames"]]
    assert times == pytest.approx(np.arange(20) / 2, abs=0.04)
    segments = found["summary"]["segments"]
    assert sum(segment["frames"] for segment in segments) == 20
    mean = np.mean([frame["predictions"][0]["probability"] for frame in found["frames"]])
    assert found["summary"]["mean"][0]["probability"] <= mean


def test_a_thing_keeps_its_track_from_frame_to_frame(client: httpx.Client) -> None:
    found = watch(client, bikes(), "task=detect&fps=12.5&score_threshold=0.5")
    tracks = found["summary"]["tracks"]
    longest = max(tracks, key=lambda track: track["frames"])
    assert longest["frames"] >= 15
    assert longest["end"] - longest["start"] >= 1
    assert len(longest["path"]) == longest["frames"]
    points = [
        (frame["time"], one["box"])
        for frame in found["frames"]
        for one in frame["detections"]
        if one["track"] == longest["track"]
    ]
    assert points == [(place["time"], place["box"]) for place in longest["path"]]


def test_boxes_are_those_of_the_frame_as_a_image(client: httpx.Client) -> None:
    (frame,) = watch(client, bikes(), "task=detect&max_frames=1")["frames"]
    image = encode(stored_images(bikes())[frame["number"]])
    alone = client.post("/v1/detect", content=image).json()["results"][0]["detections"]
    for one in frame["detections"]:
        del one["track"]
    assert frame["detections"] == alone


def test_areas_and_vectors_come_frame_by_frame(client: httpx.Client) -> None:
    areas = watch(client, bikes(), "task=segment&model=u2netp&max_frames=2")
    image = encode(stored_images(bikes())[areas["frames"][1]["number"]])
    alone = client.post("/v1/segment?model=u2netp", content=image).json()["results"][0]
    assert areas["frames"][1]["segments"] == alone["segments"]
    vectors = watch(client, bikes(), "task=embed&max_frames=2")
    first, second = (np.array(frame["embedding"]) for frame in vectors["frames"])
    likeness = vectors["frames"][1]["similarity_to_last"]
    assert likeness == pytest.approx(float(first @ second), abs=1e-5)


@pytest.mark.parametrize(
    ("form", "codec"),
    [("webm", "libvpx-vp9"), ("avi", "mjpeg"), ("mov", "libx264"), ("gif", "gif")],
)
def test_every_container_is_read_raw_or_from_a_form(
    client: httpx.Client, form: str, codec: str
) -> None:
    body = counting(40, form, codec)
    raw = watch(client, body, "model=lenet5")
    sent = client.post("/v1/video?model=lenet5", files={"file": ("clip", body)}).json()
    assert len(raw["frames"]) == 8
    assert sent == raw


def test_lines_come_with_progress_and_end_with_the_summary(client: httpx.Client) -> None:
    with client.stream("POST", "/v1/video", content=bikes(), headers=NDJSON) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        start, *frames, last = lines(response)
    assert (start["event"], start["expected"], start["video"]["codec"]) == ("start", 20, "h264")
    assert [(one["event"], one["done"], one["of"]) for one in frames] == [
        ("frame", n, 20) for n in range(1, 21)
    ]
    assert (last["event"], last["ended"], last["counts"]["sampled"]) == ("summary", "complete", 20)
    whole = watch(client, bikes())
    assert last["summary"] == whole["summary"]
    assert [frame["predictions"] for frame in frames] == [
        frame["predictions"] for frame in whole["frames"]
    ]


def test_events_hold_what_the_lines_hold(client: httpx.Client) -> None:
    response = client.post("/v1/video?max_frames=2", content=bikes(), headers=EVENTS)
    assert response.headers["content-type"] == "text/event-stream"
    events = [block.split("\n") for block in response.text.strip().split("\n\n")]
    assert [kind for kind, _ in events] == [
        "event: start", "event: frame", "event: frame", "event: summary",
    ]  # fmt: skip
    assert all(json.loads(data.removeprefix("data: ")) for _, data in events)


def test_answers_come_while_the_clip_is_still_being_sent(live: Live) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 48, 64, 3)).astype(np.uint8)
    body = encode_clip(noise, options={"g": "5"}, container_options=HEADER_FIRST)
    half = len(body) * 2 // 3
    with socket.create_connection(live.address, timeout=10) as connection:
        connection.sendall(
            b"POST /v1/video?model=lenet5 HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body[:half]
        )
        received = b""
        while b'"event":"frame"' not in received:
            received += connection.recv(65536)
        assert b'"event":"summary"' not in received
        connection.sendall(body[half:])
        while b'"event":"summary"' not in received:
            received += connection.recv(65536)
    assert received.count(b'"event":"frame"') == 12
    assert b'"ended":"complete"' in received


def test_a_client_that_leaves_ends_the_work(live: Live) -> None:
    body = encode_clip(map(ramp, range(400)), container_options=HEADER_FIRST)
    with socket.create_connection(live.address, timeout=10) as connection:
        connection.sendall(
            b"POST /v1/video?every_n=1 HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        received = b""
        while b'"event":"frame"' not in received:
            received += connection.recv(65536)
        before = live.sample("foveal_errors_total", code="client_left")
    patience = time.monotonic() + 30
    while live.sample("foveal_errors_total", code="client_left") == before:
        assert time.monotonic() < patience, "the work went on"
        time.sleep(0.01)
    idle = live.sample("foveal_video_frames_total", outcome="sampled")
    assert live.services.engine.registry.find(["classify"], None, None).batcher.depth == 0
    threads = [one for one in threading.enumerate() if one.name.startswith("foveal-video")]
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert live.sample("foveal_video_frames_total", outcome="sampled") == idle


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_an_overlay_is_a_film_of_the_sampled_frames(client: httpx.Client, task: str) -> None:
    query = f"task={task}&fps=0.5&format=overlay" + ("&model=u2netp" if task == "segment" else "")
    response = client.post(f"/v1/video?{query}", content=bikes())
    assert response.headers["content-type"] == "video/mp4"
    frames = stored_frames(response.content)
    assert [seconds for seconds, _ in frames] == pytest.approx(np.arange(5) * 2, abs=0.04)
    stored = stored_images(bikes())
    differences = [
        np.abs(drawn - np.asarray(stored[round(seconds * 25)], np.int16)).mean(axis=2)
        for seconds, drawn in frames
    ]
    assert all(np.median(difference) < 12 for difference in differences)
    assert max(float((difference > 60).mean()) for difference in differences) > 0.005


def test_what_was_cut_short_is_answered_as_far_as_it_goes(client: httpx.Client) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 48, 64, 3)).astype(np.uint8)
    body = encode_clip(noise, options={"g": "10"}, container_options=HEADER_FIRST)
    found = watch(client, body[: len(body) // 2], "model=lenet5&every_n=1")
    assert found["ended"] == "truncated"
    assert "60" in found["detail"]
    assert 20 < len(found["frames"]) < 40
    assert found["summary"]["mean"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"no clip", 415, "unsupported_video"),
        (tone(), 422, "no_video_stream"),
        (empty(), 422, "no_frames"),
        (bikes()[:100_000], 422, "broken_video"),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson", "text/event-stream"])
def test_a_bad_clip_is_a_problem_whatever_answer_was_requested(
    client: httpx.Client, body: bytes, status: int, code: str, accept: str
) -> None:
    problem(client.post("/v1/video", content=body, headers={"Accept": accept}), status, code)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("fps=2&every_n=3", "every_n"),
        ("task=detect&top_k=3", "top_k"),
        ("task=dance", "task"),
        ("fps=0", "fps"),
        ("task=embed&format=overlay", "embed"),
        ("top_k=2000", "top_k"),
        ("framerate=3", "framerate"),
    ],
)
def test_a_bad_parameter_is_named(client: httpx.Client, query: str, named: str) -> None:
    detail = problem(client.post(f"/v1/video?{query}", content=bikes()), 422, "invalid_parameter")
    assert named in detail


def test_several_files_in_a_form_are_refused(client: httpx.Client) -> None:
    files = [("file", ("a", counting(10))), ("file", ("b", counting(10)))]
    problem(client.post("/v1/video", files=files), 400, "malformed_multipart")


def test_a_deadline_ends_the_whole_clip(client: httpx.Client) -> None:
    headers = {"X-Timeout-Ms": "50"}
    response = client.post("/v1/video?every_n=1", content=bikes(), headers=headers)
    problem(response, 504, "deadline_exceeded")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service of one tiny model with small limits for clips."""
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    limits: dict[str, Any] = {
        "max_video_bytes": 100_000, "max_video_seconds": 30, "max_video_frames": 20,
        "max_pixels": 10_000, "max_fan_outs": 1,
    }  # fmt: skip
    with serve(models=root, **limits) as service:
        yield service


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (bytes(110_000), "body_too_large"),
        (encode_clip(map(ramp, range(2)), times=[0, 36_000]), "video_too_long"),
        (counting(200), "too_many_frames"),
        (with_samples(100_000_000), "too_many_frames"),
        (encode_clip([ramp(0, (160, 120))] * 3), "too_many_pixels"),
    ],
)
def test_limits_are_answered_before_any_work(narrow: Live, body: bytes, code: str) -> None:
    with httpx.Client(base_url=narrow.url) as client:
        problem(client.post("/v1/video", content=body), 413, code)
        chunks = iter([body[:100], body[100:]])
        if code == "body_too_large":
            problem(client.post("/v1/video", content=chunks), 413, code)


def test_a_clip_over_the_number_worked_on_at_once_gets_a_retry_after(narrow: Live) -> None:
    body = counting(30)
    with httpx.Client(base_url=narrow.url, timeout=20) as client, ThreadPoolExecutor(8) as clients:
        patience = time.monotonic() + 10
        while True:
            answers = list(clients.map(lambda _: client.post("/v1/video", content=body), range(8)))
            assert {answer.status_code for answer in answers} <= {200, 503}
            refused = [answer for answer in answers if answer.status_code == 503]
            if refused:
                break
            assert time.monotonic() < patience
        problem(refused[0], 503, "overloaded")
        assert refused[0].headers["retry-after"]
        patience = time.monotonic() + 10
        while client.post("/v1/video", content=body).status_code == 503:
            assert time.monotonic() < patience


def test_the_metrics_count_frames(narrow: Live) -> None:
    outcomes = ("decoded", "sampled", "skipped")
    name = "foveal_video_frames_total"
    before = [narrow.sample(name, outcome=outcome) for outcome in outcomes]
    with httpx.Client(base_url=narrow.url) as client:
        patience = time.monotonic() + 30
        while (
            response := client.post("/v1/video?every_n=10", content=counting(60))
        ).status_code == 503:
            assert time.monotonic() < patience
    video = response.json()["video"]
    after = [narrow.sample(name, outcome=outcome) for outcome in outcomes]
    assert [now - then for now, then in zip(after, before, strict=True)] == [
        video[outcome] for outcome in outcomes
    ]
    assert video["sampled"] == 6
    assert video["decoded"] + video["skipped"] == 60


def add_trend(root: Path) -> None:
    """Put a head over time that says which color grows beside its backbone."""
    recipe = Recipe(
        source="train:tests.exporter.test_temporal:train_trend",
        task="temporal",
        name="trend",
        backbone="colors/1/model.onnx",
        window=WindowRecipe(frames=4, stride=2, fps=5),
        folder=root,
    )
    export(recipe, root / "trend/1/model.onnx", SilentProgress())


@pytest.fixture(scope="module")
def over_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service of a head over time that says which color grows, and of its backbone."""
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    add_trend(root)
    with serve(models=root) as service:
        yield service


def dawn(number: int) -> Pixels:
    """Return a frame that is the more red the later it comes."""
    return np.full((48, 64, 3), (10 * number, 100, 100), np.uint8)


def test_a_head_over_time_answers_windows_and_the_clip(over_time: Live) -> None:
    body = encode_clip(map(dawn, range(18)))
    with httpx.Client(base_url=over_time.url) as client:
        found = watch(client, body, "task=temporal")
        lined = lines(client.post("/v1/video?task=temporal", content=body, headers=NDJSON))
        drawn = client.post("/v1/video?task=temporal&format=overlay", content=body).content
    assert found["model"] == "trend"
    assert [frame["number"] for frame in found["frames"]] == list(range(0, 18, 2))
    windows = found["summary"]["windows"]
    assert [(one["start"], one["end"]) for one in windows] == [
        (0.0, 0.6), (0.4, 1.0), (0.8, 1.4), (1.0, 1.6),
    ]  # fmt: skip
    assert {one["predictions"][0]["label"] for one in windows} == {"red"}
    assert found["summary"]["predictions"][0]["label"] == "red"
    assert found["frames"][3]["windows"] == [windows[0]]
    assert lined[-1]["summary"] == found["summary"]
    assert len(stored_frames(drawn)) == 9
    assert over_time.sample("foveal_images_total", model="colors", outcome="answered") >= 9


def test_a_clip_too_short_for_a_window_says_what_would_help(over_time: Live) -> None:
    with httpx.Client(base_url=over_time.url) as client:
        found = watch(client, encode_clip(map(dawn, range(4))), "task=temporal")
        assert found["summary"]["predictions"] == []
        assert "more fps" in found["summary"]["detail"]
        more = watch(client, encode_clip(map(dawn, range(4))), "task=temporal&fps=10")
    assert more["summary"]["predictions"][0]["label"] == "red"


def test_a_head_whose_backbone_is_another_is_refused(tmp_path: Path) -> None:
    write_servable(tmp_path)
    add_trend(tmp_path)
    shutil.rmtree(tmp_path / "colors")
    write_servable(tmp_path, model=color_model(side=16), card=color_card(side=16))
    with serve(models=tmp_path) as service, httpx.Client(base_url=service.url) as client:
        response = client.post("/v1/video?task=temporal", content=counting(10))
        assert "colors" in problem(response, 503, "model_not_ready")


@pytest.mark.slow
def test_a_minute_of_720p_leaves_memory_flat() -> None:
    """The process's peak, as the kernel counts it, grows by less than 200 MB."""
    body = encode_clip(minute(), rate=10, options={"preset": "ultrafast"})
    with start(log_format="json") as process, httpx.Client(base_url=process.url) as client:
        while client.get("/health/ready").status_code != 200:
            time.sleep(0.1)
        watch(client, bikes())
        before = peak_bytes(process.process.pid)
        client.timeout = httpx.Timeout(60)
        assert len(watch(client, body)["frames"]) == 120
        assert peak_bytes(process.process.pid) - before < 200e6


def minute() -> Iterator[Pixels]:
    """Yield 600 frames of 1280×720: a window that slides over a photograph."""
    with Image.open(BytesIO(photograph("coffee"))) as image:
        large = np.asarray(image.convert("RGB").resize((1400, 900)))
    for number in range(600):
        top, left = number % 90, number % 110
        yield np.ascontiguousarray(large[top : top + 720, left : left + 1280])


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * next(int(row.split()[1]) for row in status.splitlines() if "VmHWM" in row)
