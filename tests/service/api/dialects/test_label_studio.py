"""Label Studio's ML backend: the requests are those of version 1.23; regions are read as its own tools read them."""

import json
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.dialects.label_studio.config import controls_of
from service.api.dialects.label_studio.regions import MOST_RUNS, brush
from service.errors import InvalidParameterError
from tests.finders import data_url, painted, plain, png, write_detector
from tests.live import Live, serve

ORANGE = data_url(plain((230, 128, 0)))
TOKEN = "0123456789abcdef"  # noqa: S105  # of a stand-in


def config(*tags: str) -> str:
    return f'<View><!-- a comment --><Image name="img" value="$image"/>{"".join(tags)}</View>'


RECTANGLES = (
    '<RectangleLabels name="box" toName="img"><Label value="Cup" background="#fff"/>'
    '<Label value="Furniture" predicted_values="table, dining table"/></RectangleLabels>'
)
POLYGONS = '<PolygonLabels name="line" toName="img"><Label value="GREEN"/></PolygonLabels>'
BRUSHES = '<BrushLabels name="paint" toName="img"><Label value="leaf" alias="green"/></BrushLabels>'
CHOICES = '<Choices name="what" toName="img"><Choice value="blue"/><Choice value="red"/></Choices>'


NESTED = (
    '<Choices name="c" toName="img">' * 3000
    + f'<Choice value="a" predicted_values="{"a," * 50_000}"/>'
    + "</Choices>" * 3000
)
"""The labels of each tag are those of all tags in it: 229 KB took 45 s."""


def request(images: Sequence[object], label_config: str) -> dict[str, Any]:
    """Return a request of `make_predictions`, with all that Label Studio sends beside what is needed."""
    tasks = [
        {"id": index, "data": {"image": image}, "meta": {}, "annotations": [], "project": 1}
        for index, image in enumerate(images)
    ]
    return {
        "tasks": tasks,
        "project": "1.1764216900",
        "label_config": label_config,
        "params": {"login": None, "password": None, "context": None},
    }


def predict(
    http: httpx.Client, images: Sequence[object], *tags: str, model: str = ""
) -> list[dict[str, Any]]:
    path = f"/label-studio{f'/{model}' if model else ''}/predict"
    answer = http.post(path, json=request(images, config(*tags)))
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


def decoded(rle: Sequence[int]) -> NDArray[np.uint8]:
    """Read rle-pack by its description, bit by bit."""
    bits, at = "".join(f"{byte:08b}" for byte in rle), 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeats = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if repeats else [read(word) for _ in range(length)]
    return np.array(values, np.uint8)


def test_the_backend_is_up_and_names_the_version_that_predictions_will_have(
    http: httpx.Client,
) -> None:
    assert http.get("/label-studio/health").json()["status"] == "UP"
    given = {
        "project": "1.1764216900",
        "schema": config(RECTANGLES, CHOICES),
        "hostname": "http://localhost:8080",
        "access_token": TOKEN,
        "extra_params": None,
    }
    version = http.post("/label-studio/setup", json=given).json()["model_version"]
    assert version == "finder 1, colors 1"
    [prediction] = predict(http, [ORANGE], RECTANGLES, CHOICES)
    assert prediction["model_version"] == version
    one = http.post("/label-studio/finder/setup", json=given).json()["model_version"]
    assert one == "finder 1"
    empty = http.post("/label-studio/setup", json={**given, "schema": "<View></View>"})
    assert empty.json()["model_version"].startswith("foveal ")
    assert http.get("/label-studio/versions").json()["versions"] == [
        "colors 1",
        "finder 1",
        "painter 1",
    ]


def test_boxes_are_in_per_cent_under_the_names_of_the_project(http: httpx.Client) -> None:
    [prediction] = predict(http, [ORANGE], RECTANGLES)
    cup, table = prediction["result"]
    assert cup["value"] == {
        "x": 25,
        "y": 25,
        "width": 50,
        "height": 25,
        "rotation": 0,
        "rectanglelabels": ["Cup"],
    }
    assert (cup["from_name"], cup["to_name"], cup["type"]) == ("box", "img", "rectanglelabels")
    assert (cup["original_width"], cup["original_height"]) == (80, 40)
    assert cup["score"] == pytest.approx(230 / 255, abs=1e-5)
    assert table["value"]["rectanglelabels"] == ["Furniture"]
    assert cup["id"] != table["id"]
    assert prediction["score"] == pytest.approx((230 + 128) / 2 / 255, abs=1e-5)


def test_brushes_are_the_masks_of_the_pixels(http: httpx.Client) -> None:
    [prediction] = predict(http, [data_url(png(painted()))], BRUSHES)
    [region] = prediction["result"]  # red is background, and the project has no label for blue
    assert region["value"]["brushlabels"] == ["leaf"]
    assert region["value"]["format"] == "rle"
    pixels = decoded(region["value"]["rle"]).reshape(8, 8, 4)
    for channel in range(4):
        np.testing.assert_array_equal(pixels[..., channel] > 0, painted().argmax(axis=2) == 1)


def test_polygons_go_around_the_pixels(http: httpx.Client) -> None:
    [prediction] = predict(http, [data_url(png(painted()))], POLYGONS)
    [region] = prediction["result"]
    assert (region["value"]["polygonlabels"], region["value"]["closed"]) == (["GREEN"], True)
    points = np.array(region["value"]["points"])
    np.testing.assert_allclose(points.min(axis=0), [100 / 8, 300 / 8])
    np.testing.assert_allclose(points.max(axis=0), [500 / 8, 500 / 8])


def test_a_choice_is_the_best_that_the_project_has(http: httpx.Client) -> None:
    red, green = predict(http, [ORANGE, data_url(plain((0, 255, 60)))], CHOICES)
    assert red["result"][0]["value"] == {"choices": ["red"]}
    assert green["result"][0]["value"] == {"choices": ["blue"]}  # green is not among them
    several = CHOICES.replace("<Choices", '<Choices choice="multiple"')
    [none] = predict(http, [data_url(plain((0, 255, 60)))], several)
    assert none["result"] == []


def test_every_tag_is_filled_in_and_of_a_named_model_only_its_own(http: httpx.Client) -> None:
    every = (RECTANGLES, POLYGONS, BRUSHES, CHOICES)
    [prediction] = predict(http, [data_url(png(painted()))], *every)
    kinds = {one["type"] for one in prediction["result"]}
    assert kinds >= {"polygonlabels", "brushlabels", "choices"}
    [prediction] = predict(http, [data_url(png(painted()))], *every, model="painter")
    assert {one["type"] for one in prediction["result"]} == {"polygonlabels", "brushlabels"}


def test_a_task_without_an_image_fails_alone(http: httpx.Client) -> None:
    images = [ORANGE, None, data_url(b"no image"), "s3://bucket/a.jpg"]
    good, *bad = predict(http, images, RECTANGLES)
    assert len(good["result"]) == 2
    codes = [one["error"]["code"] for one in bad]
    assert codes == ["remote_image", "unsupported_image", "remote_image"]
    assert not any("result" in one for one in bad)  # Label Studio would store an empty prediction


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://example.org/a.jpg",
        "https://example.org/a.jpg",
        "/data/upload/1/a.jpg",
        "file:///etc/passwd",
        "//example.org/a.jpg",
    ],
)
def test_no_url_is_fetched_by_default(http: httpx.Client, url: str) -> None:
    answer = http.post("/label-studio/predict", json=request([url], config(RECTANGLES)))
    refused(answer, 400, "not")


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        (request([ORANGE], config()), 400, "no tag that a model here fills in"),
        (request([ORANGE], "<View>"), 400, "is not XML"),
        (request([ORANGE], '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>'), 400, "document type"),
        (request([ORANGE], "<View>" + " " * 300_000 + "</View>"), 400, "characters; at most"),
        (request([ORANGE] * 5, config(RECTANGLES)), 413, "5 images, more than the 4 allowed"),
        (request([], config(RECTANGLES)), 400, "not empty"),
        (request([ORANGE], config(*[CHOICES] * 21)), 400, "more than 20 tags"),
        (request([ORANGE], config(NESTED)), 400, "more than 20 tags"),
        ({"tasks": [5], "label_config": config(RECTANGLES)}, 400, "must have its data"),
        ({"tasks": [{"data": {"image": ORANGE}}], "label_config": 5}, 400, "label_config must be"),
        ([], 400, "must be an object"),
    ],
)
def test_what_is_wrong_in_a_request_is_named(
    http: httpx.Client, given: object, status: int, text: str
) -> None:
    refused(http.post("/label-studio/predict", json=given), status, text)


def several(*images: str, tasks: int = 1) -> dict[str, Any]:
    """Return a request whose tasks have several images each."""
    tags = "".join(
        f'<Image name="img{n}" value="$v{n}"/>'
        f'<Choices name="c{n}" toName="img{n}"><Choice value="blue"/></Choices>'
        for n in range(len(images))
    )
    data = {f"v{n}": image for n, image in enumerate(images)}
    return {"tasks": [{"data": data}] * tasks, "label_config": f"<View>{tags}</View>"}


def test_the_limits_of_a_request_count_the_images_of_all_tags_together(http: httpx.Client) -> None:
    path = "/label-studio/predict"
    assert http.post(path, json=several(ORANGE, ORANGE, tasks=2)).status_code == 200
    answer = http.post(path, json=several(ORANGE, ORANGE, ORANGE, tasks=2))
    refused(answer, 413, "6 images, more than the 4 allowed")
    large = data_url(plain((230, 128, 0), 3000, 2000))  # one of 6 of the 10 million pixels
    assert http.post(path, json=several(large, ORANGE)).status_code == 200
    refused(http.post(path, json=several(large, large)), 413, "12 million pixels together")


def test_a_model_that_fits_no_tag_says_which_it_fills_in(http: httpx.Client) -> None:
    given = request([ORANGE], config(CHOICES))
    refused(http.post("/label-studio/painter/predict", json=given), 400, "PolygonLabels, BrushL")
    refused(http.post("/label-studio/nothing/predict", json=given), 404, "no model 'nothing'")
    refused(http.get("/label-studio/nothing/health"), 404, "no model 'nothing'")
    refused(http.post("/label-studio/train", json={}), 404, "nothing at")


def test_the_news_of_a_project_are_accepted_and_training_is_not(http: httpx.Client) -> None:
    news = {"action": "ANNOTATION_CREATED", "annotation": {"result": [0] * 20_000}}
    assert http.post("/label-studio/webhook", json=news).status_code == 200
    wanted = {"action": "START_TRAINING", "project": {}}
    refused(http.post("/label-studio/webhook", json=wanted), 400, "does not train")


@pytest.fixture
def uploads() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Label Studio as far as its files go: it wants its token, and answers as Django REST does to a narrow Accept."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            allowed = self.headers["Authorization"] == f"Token {TOKEN}"
            status = 200 if allowed and "*/*" in self.headers["Accept"] else 401
            body = plain((230, 128, 0)) if status == 200 else b"{}"
            if self.path.startswith("/data/upload/away"):
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:1/data/upload/1/a.jpg")
                self.end_headers()
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_uploads_are_fetched_from_the_one_label_studio_that_the_operator_names(
    zoo: Path, uploads: tuple[str, list[tuple[str, str | None]]]
) -> None:
    url, asked = uploads
    with (
        serve(models=zoo, label_studio_url=url, label_studio_token=TOKEN) as live,
        httpx.Client(base_url=live.url) as http,
    ):
        images = [
            "/data/upload/1/a%20b.png",
            f"{url}/data/upload/2/c.png",
            "/data/upload/away.png",
            "/data/../api/users",
            "/data/%2e%2e/api/users",
            "/api/users",
            "http://127.0.0.1:1/data/upload/1/a.jpg",
        ]
        found = predict(http, images, RECTANGLES)
    assert [len(one.get("result", ())) for one in found] == [2, 2, 0, 0, 0, 0, 0]
    assert {one["error"]["code"] for one in found[2:]} == {"remote_image"}
    assert [path for path, _ in asked] == [
        "/data/upload/1/a%20b.png",
        "/data/upload/2/c.png",
        "/data/upload/away.png",
    ]
    assert {token for _, token in asked} == {f"Token {TOKEN}"}


def test_what_is_fetched_for_a_client_that_leaves_is_given_up(zoo: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as home,
        serve(models=zoo, label_studio_url=f"http://127.0.0.1:{home.getsockname()[1]}") as live,
    ):
        home.settimeout(20)
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.Client(base_url=live.url, timeout=httpx.Timeout(20, read=0.5)) as http,
        ):
            http.post("/label-studio/predict", json=request(["/data/1"], config(RECTANGLES)))
        there, _ = home.accept()
        with there:
            there.settimeout(10)
            assert there.recv(4096).startswith(b"GET /data/1 ")
            with suppress(ConnectionResetError):
                assert there.recv(1) == b""


def test_an_image_that_the_memory_has_no_room_for_fails_the_request_and_is_not_read(
    zoo: Path,
) -> None:
    def send(home: socket.socket) -> None:
        there, _ = home.accept()
        with there:
            there.recv(4096)
            there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")
            with suppress(ConnectionResetError):
                assert there.recv(1) == b""

    with (
        socket.create_server(("127.0.0.1", 0)) as home,
        serve(models=zoo, label_studio_url=f"http://127.0.0.1:{home.getsockname()[1]}") as live,
        httpx.Client(base_url=live.url) as http,
        ThreadPoolExecutor(1) as threads,
    ):
        live.services.engine.bodies.fit(4 << 20)
        sent = threads.submit(send, home)
        asked = request(["/data/1"], config(RECTANGLES))
        answer = http.post("/label-studio/predict", json=asked)
        refused(answer, 413, "larger than the 4.0 MiB that the memory of the service has room for")
        sent.result()
        assert live.services.engine.bodies.bytes == 0


def test_a_label_config_is_read_as_label_studio_means_it() -> None:
    found = controls_of(
        '<View><Image name="a" value="$x"/><Image name="b" value="https://e.org/y.jpg"/><Text name="t" value="$t"/>'
        '<RectangleLabels name="one" toName="t,a"><Label value="Car"/></RectangleLabels>'
        '<Choices name="two" toName="t"><Choice value="no"/></Choices>'
        '<BrushLabels name="three" toName="b"><Label value="no"/></BrushLabels></View>'
    )
    [control] = found
    assert (control.name, control.image, control.variable) == ("one", "a", "x")
    assert control.label_of("CAR") == "Car"
    assert control.label_of("cart") is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (300, 400), (1, 70_000)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_brush_is_the_mask_four_times(shape: tuple[int, int], share: float) -> None:
    mask = (np.random.default_rng(2).random(shape) < share).astype(np.uint8)
    expected = np.repeat(mask.ravel() * 255, 4)
    np.testing.assert_array_equal(decoded(brush(mask)), expected)


def test_a_mask_of_noise_is_no_brush() -> None:
    noise = np.indices((1, MOST_RUNS + 1))[1] % 2
    with pytest.raises(InvalidParameterError, match="too ragged"):
        brush(noise.astype(np.uint8))


def test_a_body_that_is_cut_anywhere_is_refused(spoken: Live) -> None:
    body = json.dumps(request([ORANGE], config(RECTANGLES))).encode()
    with httpx.Client(base_url=spoken.url) as http:
        for end in range(0, len(body), 29):
            answer = http.post("/label-studio/predict", content=body[:end])
            assert answer.status_code == 400, (end, answer.text)


def test_where_no_default_is_clear_setup_and_predict_say_which_models_there_are(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        write_detector(tmp_path, name)
    with serve(models=tmp_path) as live, httpx.Client(base_url=live.url) as http:
        for path, body in (
            ("predict", request([ORANGE], config(RECTANGLES))),
            ("setup", {"project": "1", "schema": config(RECTANGLES)}),
        ):
            answer = http.post(f"/label-studio/{path}", json=body)
            assert answer.status_code == 400
            detail = str(answer.json())
            assert "2 models do detect, and none is the default: one, two" in detail
            assert "FOVEAL_DEFAULTS" in detail
        assert predict(http, [ORANGE], RECTANGLES, model="two")
