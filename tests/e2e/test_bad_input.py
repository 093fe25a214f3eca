"""Wrong requests: each gets a clear problem, is counted, and does not affect other requests."""

import gc
import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.errors import FovealError, error_types
from tests.images import photograph, plain
from tests.live import Live, bundled, problem, serve
from tests.service.imaging.test_decode import png_of_size

FORM = {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"hello, world", 415, "unsupported_image"),
        (photograph("rocket")[:9000], 422, "broken_image"),
        (png_of_size(5000, 5000), 413, "too_many_pixels"),
        (b"\0" * 100_001, 413, "body_too_large"),
        (b'{"images": ["%%%"]}', 400, "malformed_base64"),
        (b'{"images": [""]}', 400, "empty_image"),
        (b'{"images": "one"}', 400, "malformed_json"),
        (b'{"images": []}', 400, "malformed_json"),
        (b'{"images": [', 400, "malformed_json"),
        (json.dumps({"images": ["aa=="] * 5}).encode(), 413, "too_many_images"),
    ],
)
def test_a_body_that_can_not_be_answered(
    tiny: httpx.Client, body: bytes, status: int, code: str
) -> None:
    assert problem(tiny.post("/v1/classify", content=body), status, code)


@pytest.mark.parametrize(
    "body",
    [
        b"no form at all",
        b"--x\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ncut short',
        b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nno file\r\n--x--\r\n',
        b"--x\r\nContent-Type: image/png\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--x--\r\n",
        b"--x\r\nContent-\x00Disposition\r\n\r\n\r\n--x--\r\n",
    ],
)
def test_a_malformed_form(tiny: httpx.Client, body: bytes) -> None:
    response = tiny.post("/v1/classify", content=body, headers=FORM)
    assert problem(response, 400, "malformed_multipart")


def test_a_form_without_a_boundary(tiny: httpx.Client) -> None:
    headers = {"content-type": "multipart/form-data"}
    detail = problem(
        tiny.post("/v1/classify", content=b"x", headers=headers), 400, "malformed_multipart"
    )
    assert "boundary" in detail


@pytest.mark.parametrize(
    ("query", "status", "code", "detail"),
    [
        ("model=nothing", 404, "unknown_model", "models: colors"),
        ("model=../../etc/passwd", 404, "unknown_model", "models: colors"),
        ("version=7", 404, "unknown_version", "Versions: 1"),
        ("version=zero", 422, "invalid_parameter", "version"),
        ("top_k=0", 422, "invalid_parameter", "top_k"),
        ("top_k=4", 422, "invalid_parameter", "1 to 3"),
        ("top_k=many", 422, "invalid_parameter", "top_k: a whole number is expected, not 'many'"),
        (
            "model=colors&model=colors",
            422,
            "invalid_parameter",
            "model: it is there more than once",
        ),
        ("topk=1", 422, "invalid_parameter", "topk: there is no such parameter here; near: top_k"),
    ],
)
def test_a_parameter_that_is_not_valid_is_named(
    tiny: httpx.Client, query: str, status: int, code: str, detail: str
) -> None:
    response = tiny.post(f"/v1/classify?{query}", content=plain("red"))
    assert detail in problem(response, status, code)


@pytest.mark.parametrize("timeout", ["", "0", "-5", "soon", "nan", "inf", "1e99"])
def test_a_deadline_that_is_not_valid(tiny: httpx.Client, timeout: str) -> None:
    response = tiny.post("/v1/classify", content=plain("red"), headers={"X-Timeout-Ms": timeout})
    assert "X-Timeout-Ms" in problem(response, 422, "invalid_parameter")


@pytest.mark.parametrize("path", ["/v1/chain", "/v1/explain", "/v1/video", "/v1/detect"])
def test_a_parameter_that_is_there_twice_is_named_on_every_route(
    tiny: httpx.Client, path: str
) -> None:
    detail = "model: it is there more than once"
    response = tiny.post(f"{path}?model=colors&format=overlay&model=colors", content=plain("red"))
    assert detail in problem(response, 422, "invalid_parameter")
    if path in {"/v1/video", "/v1/detect"}:  # what may be repeated is not what is refused
        response = tiny.post(f"{path}?classes=cup&classes=cat&model=a&model=b", content=b"x")
        assert detail in problem(response, 422, "invalid_parameter")


@pytest.mark.parametrize("name", ["Content-Type", "X-Timeout-Ms"])
def test_a_header_that_is_there_twice_is_named(tiny: httpx.Client, name: str) -> None:
    for path in ("/v1/classify", "/v1/video"):
        response = tiny.post(path, content=plain("red"), headers=[(name, "9"), (name, "9")])
        detail = problem(response, 422, "invalid_parameter")
        assert f"{name} is there more than once" in detail


def test_an_unknown_path_and_a_wrong_method(tiny: httpx.Client) -> None:
    assert problem(tiny.get("/v1/classifie"), 404, "not_found")
    response = tiny.get("/v1/classify")
    assert "POST" in problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_body_over_the_limit_is_refused_while_it_streams_in(tiny: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 500_000_000:
            sent += 65536
            yield b"\0" * 65536

    response = tiny.post("/v1/classify", content=endless())
    assert "MiB" in problem(response, 413, "body_too_large")
    assert sent < 100_000_000


def test_an_announced_body_over_the_limit_is_refused_before_it_is_sent(tiny: httpx.Client) -> None:
    address = (tiny.base_url.host, tiny.base_url.port or 0)
    head = "POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert b" 413 " in answer.splitlines()[0]
    assert b"100 Continue" not in answer


def test_a_full_queue_answers_503_and_says_when_to_try_again(tmp_path: Path) -> None:
    models = bundled(tmp_path, "lenet5")
    with (
        serve(models=models, queue_size=1) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        pair = [("file", plain("red"))] * 2
        response = http.post("/v1/classify?model=lenet5", files=pair)
        assert "queue of 1" in problem(response, 503, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        assert http.post("/v1/classify?model=lenet5", content=plain("red")).status_code == 200


def test_a_deadline_that_is_not_valid_is_named_before_the_body_is_read(tiny: httpx.Client) -> None:
    """Both for images, whose route reads the body, and for a clip, which is received during the work."""
    for path in ("/v1/classify", "/v1/explain?view=occlusion", "/v1/video"):
        response = tiny.post(path, content=b"no image", headers={"X-Timeout-Ms": "soon"})
        assert "X-Timeout-Ms" in problem(response, 422, "invalid_parameter"), path


def test_a_deadline_that_passes_answers_504(client: httpx.Client) -> None:
    headers = {"X-Timeout-Ms": "0.01"}
    response = client.post("/v1/classify", content=photograph("chelsea"), headers=headers)
    assert "within 0.01 ms" in problem(response, 504, "deadline_exceeded")


def test_every_error_is_counted_by_its_code(live: Live, client: httpx.Client) -> None:
    before = live.sample("foveal_errors_total", code="unsupported_image")
    client.post("/v1/classify", content=b"no image")
    client.post("/v1/classify", files=[("file", b"no image"), ("file", plain("red"))])
    assert live.sample("foveal_errors_total", code="unsupported_image") == before + 2


def test_nothing_is_left_behind(live: Live, client: httpx.Client) -> None:
    assert client.post("/v1/classify", content=b"no image").status_code == 415
    assert live.services.engine.registry.versions("efficientnet-lite0")[0].batcher.depth == 0
    assert live.sample("foveal_queue_depth", model="efficientnet-lite0") == 0


def test_codes_are_unique_and_every_leaf_has_its_own() -> None:
    leaves = [kind for kind in error_types() if not kind.__subclasses__()]
    assert len({kind.code for kind in leaves}) == len(leaves)
    assert all(kind.title != FovealError.title for kind in leaves)


def test_a_client_that_leaves_before_its_body_ends_is_counted_and_not_logged_as_a_fault(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    before = live.sample("foveal_errors_total", code="client_left")
    with socket.create_connection(live.address, timeout=10) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
        connection.sendall(b"\xff" * 4000)
    latest = time.monotonic() + 30
    while live.sample("foveal_errors_total", code="client_left") == before:
        assert time.monotonic() < latest, "it was not counted"
        time.sleep(0.01)
    assert "unhandled" not in caplog.text


@pytest.mark.parametrize("query", ["", "model=stranger"])
@pytest.mark.parametrize("content", [photograph("rocket"), photograph("rocket")[:9000]])
def test_no_answer_leaves_its_image_to_the_garbage_collector(
    live: Live, content: bytes, query: str
) -> None:
    marked = content + b"marked"
    form = (
        b"--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n%s\r\n--x--\r\n" % marked
    )
    head = f"POST /v1/classify?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
    gc.collect()
    gc.disable()
    try:
        for body, kind in ((marked, "image/jpeg"), (form, "multipart/form-data; boundary=x")):
            with socket.create_connection(live.address, timeout=10) as connection:
                connection.sendall(
                    f"{head}{len(body)}\r\nContent-Type: {kind}\r\n\r\n".encode() + body
                )
                while connection.recv(65536):
                    pass
        time.sleep(0.1)  # the last frames end after the answer
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        held = [part for found in gc.garbage for part in gc.get_referents(found)]
        assert not [part for part in held if isinstance(part, bytes) and marked in part]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


CASES = Path(__file__).parents[1] / "data" / "cases"
XX = {"content-type": "multipart/form-data; boundary=XX"}


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("form-body.bin", XX),
        ("form-body.bin", {"content-type": 'Multipart/Form-Data; Boundary="XX"'}),
        ("form-preamble.bin", XX),
        ("form-filename-star.bin", XX),
        ("json-bom.json", {}),
        ("json-100-blanks.json", {"content-type": "application/json"}),
    ],
)
def test_a_form_or_json_of_any_allowed_shape_is_read(
    tiny: httpx.Client, name: str, headers: dict[str, str]
) -> None:
    """All of them hold the same image of 16 × 12 pixels."""
    body = (CASES / name).read_bytes()
    answers = [
        tiny.post("/v1/classify", content=body, headers=headers),
        tiny.post(
            "/v1/classify",
            content=gzip.compress(body),
            headers={**headers, "content-encoding": "gzip"},
        ),
    ]
    form = (CASES / "form-body.bin").read_bytes()
    image = form[form.index(b"\x89PNG") : form.index(b"\r\n--XX--")]
    expected = tiny.post("/v1/classify", content=image).json()
    assert [answer.json() for answer in answers] == [expected, expected]


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"content-encoding": "br"}, plain("red"), 415, "unsupported_encoding"),
        ({"content-encoding": "gzip"}, plain("red"), 400, "malformed_encoding"),
        (
            {"content-encoding": "gzip"},
            gzip.compress(bytes(100_001), mtime=0),
            413,
            "body_too_large",
        ),
        ({}, b'{"images":[' + b"1," * 40_000 + b"1]}", 413, "too_many_images"),
        ({}, b'{"images": [1, 1]}', 400, "malformed_json"),
        ({}, b"[]", 400, "malformed_json"),
        (FORM, b"--x--\r\n", 400, "malformed_multipart"),
    ],
)
def test_a_body_in_a_wrong_shape_is_named(
    tiny: httpx.Client, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    for path in ("/v1/classify", "/v1/explain?view=occlusion"):
        assert problem(tiny.post(path, content=body, headers=headers), status, code)


def test_an_image_for_the_video_route_and_a_video_for_an_image_route_are_named(
    tiny: httpx.Client,
) -> None:
    video = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01"
    detail = problem(tiny.post("/v1/classify", content=video), 415, "unsupported_image")
    assert "/v1/video" in detail
    detail = problem(tiny.post("/v1/video", content=plain("red")), 415, "unsupported_video")
    assert "/v1/classify" in detail


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/health/live",
        "/health/ready",
        "/v1/models",
        "/v1/models/colors",
        "/v1/models/nothing",
        "/docs/assets/swagger-ui.css",
    ],
)
def test_head_has_the_headers_of_get_and_no_body(tiny: httpx.Client, path: str) -> None:
    own = {"date", "x-request-id", "server-timing"}
    answers = [tiny.head(path), tiny.get(path)]
    head, get = (
        {key: value for key, value in answer.headers.items() if key not in own}
        for answer in answers
    )
    assert head == get
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].content == b""


def test_head_is_counted_by_its_route_and_allowed_beside_get(
    live: Live, client: httpx.Client
) -> None:
    before = live.sample("foveal_requests_total", route="/health/live", model="", status="200")
    assert client.head("/health/live").status_code == 200
    assert client.head("/metrics").headers["content-type"].startswith("text/plain")
    # A request is counted behind its answer; the next one's answer shows that this has happened.
    after = live.sample("foveal_requests_total", route="/health/live", model="", status="200")
    assert after == before + 1
    assert client.post("/health/live").headers["allow"] == "GET, HEAD"
    assert client.head("/v1/classify").status_code == 405
    assert client.head("/health/live").status_code == 200  # the connection still works


def test_a_body_is_sent_after_the_server_s_100_continue(tiny: httpx.Client) -> None:
    address = (tiny.base_url.host, tiny.base_url.port or 0)
    image = plain("red")
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(image)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("explain?view=cam&clas=tabby", "clas: there is no such parameter here; near: class"),
        ("explain?view=cam&sample=9", "sample: there is no such parameter here; near: samples"),
        ("video?tsk=detect", "tsk: there is no such parameter here; near: task"),
        ("video?every=2", "every: there is no such parameter here; near: every_n"),
        ("chain?modl=digits", "modl: there is no such parameter here; near: model"),
        ("detect?quality=9", "quality: there is no such parameter here; there are score_threshold"),
    ],
)
def test_an_unknown_parameter_is_answered_with_the_nearest_one(
    tiny: httpx.Client, path: str, detail: str
) -> None:
    response = tiny.post(f"/v1/{path}", content=plain("red"))
    assert detail in problem(response, 422, "invalid_parameter")
