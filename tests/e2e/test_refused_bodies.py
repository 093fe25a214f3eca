"""What a refused request leaves behind: nothing that only the garbage collector would free.

The collector runs rarely (see `spare_the_collector`), and 30 MiB of JSON may be 61 kB with gzip. So an error that keeps
its own frames alive, and with them a body, an image or a frame of a video, would fill the memory within a minute.
"""

import base64
import gc
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from service.processes.uvicorn_parts import RequestResponseCycle
from tests.clips import bikes
from tests.images import photograph
from tests.live import Live, serve
from tests.servables import write_servable

PHOTOGRAPH = photograph("rocket")
MARK = b"this body is marked"
DAMAGED = PHOTOGRAPH[:9000] + MARK
MARKED = PHOTOGRAPH + MARK
MANY_STRINGS = b'"",' * 5000 + b'"%b"' % MARK
LATE = {"X-Timeout-Ms": "1"}
CHOICES = '<Choices name="c" toName="i"><Choice value="a"/></Choices>'


def label_studio(config: str, image: bytes) -> bytes:
    url = "data:image/jpeg;base64," + base64.b64encode(image).decode()
    task = {"id": 1, "data": {"image": url, "mark": MARK.decode()}}
    return json.dumps(
        {"tasks": [task], "label_config": f'<View><Image name="i" value="$image"/>{config}</View>'}
    ).encode()


REFUSED = {
    "too many strings for V2": ("/v2/models/lenet5/infer", b'{"id": [%b]}' % MANY_STRINGS, {}),
    "too many strings for KServe V1": (
        "/v1/models/lenet5:predict",
        b'{"instances": [%b]}' % MANY_STRINGS,
        {},
    ),
    "a damaged image": ("/v1/classify", DAMAGED, {}),
    "a damaged image to draw on": ("/v1/segment?format=overlay", DAMAGED, {}),
    "a damaged image for V2": (
        "/v2/models/lenet5/infer",
        DAMAGED,
        {"Inference-Header-Content-Length": "0"},
    ),
    "a damaged image for a camera": ("/v1/vision/detection", DAMAGED, {}),
    "a damaged image to explain": ("/v1/explain?view=cam", DAMAGED, {}),
    "a damaged image to explain at length": ("/v1/explain?view=occlusion", DAMAGED, {}),
    "an image that is late": ("/v1/segment?model=u2netp", MARKED, LATE),
    "a drawing that is late": ("/v1/segment?model=u2netp&format=overlay", MARKED, LATE),
    "an explanation that is late": ("/v1/explain?view=occlusion", MARKED, LATE),
    "tensors that are late": (
        "/v2/models/u2netp/infer",
        MARKED,
        {**LATE, "Inference-Header-Content-Length": "0"},
    ),
    "no video": ("/v1/video", MARKED, {}),
    "a damaged video": ("/v1/video", b"\0\0\0\x18ftypmp42" + bytes(5000) + MARK, {}),
    "a damaged animation": ("/v1/video", b"GIF89a" + bytes(5000) + MARK, {}),
    "an image at no URL": (
        "/label-studio/predict",
        label_studio(CHOICES, PHOTOGRAPH).replace(b"data:image/jpeg;base64,", b"nowhere:"),
        {},
    ),
    "no tag": ("/label-studio/predict", label_studio("", PHOTOGRAPH), {}),
    "an unknown parameter": ("/v1/classify?nothing=1", MARKED, {}),
    "an unknown view": ("/v1/explain?view=nothing", MARKED, {}),
    "an unknown path": ("/v1/nothing", MARKED, {}),
    "a body that is announced too large": (
        "/v1/classify",
        MARKED,
        {"Content-Length": "1000000000"},
    ),
    "a form of two videos": (
        "/v1/video",
        2 * (b"--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n%b\r\n" % MARKED),
        {"Content-Type": "multipart/form-data; boundary=x"},
    ),
    "a video that is no gzip": ("/v1/video", MARKED, {"Content-Encoding": "gzip"}),
    "no gzip": ("/v1/classify", MARKED, {"Content-Encoding": "gzip"}),
    "JSON that is nested too deep": (
        "/v1/classify",
        b'{"images": %b"%b"' % (b"[" * 5000, MARK),
        {},
    ),
    "a form without an end": (
        "/v1/classify",
        b"--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" + MARKED,
        {"Content-Type": "multipart/form-data; boundary=x"},
    ),
    "an unknown model for an annotation tool": (
        "/x-anylabeling/v1/predict",
        json.dumps({"model": "none", "image": "A" * 5000 + MARK.decode()}).encode(),
        {},
    ),
}


def marked(part: object) -> bool:
    if isinstance(part, bytes | bytearray):
        return MARK in part
    return isinstance(part, str) and MARK.decode() in part


def status_of(live: Live, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Post a body with no client's objects around it; some of those wait for the collector too."""
    lines = {"Host": "x", "Connection": "close", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    answer = b""
    with socket.create_connection(live.address, timeout=20) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1])


def kept_by(garbage: list[object]) -> list[object]:
    """Return what garbage refers to, also through dicts of strings and the like, which are no garbage themselves."""
    held, left = list[object](), list(garbage)
    while left:
        found = gc.get_referents(left.pop())
        held += found
        left += [
            part for part in found if isinstance(part, dict | tuple) and not gc.is_tracked(part)
        ]
    return held


def require_nothing_left(
    live: Live, path: str, body: bytes, headers: dict[str, str] | None = None
) -> None:
    with nothing_left():
        status = status_of(live, path, body, headers or {})
        assert 400 <= status != 500


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if what happens in the block leaves the mark to the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        yield
        time.sleep(0.3)  # the last frames end after the answer
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        held = kept_by(gc.garbage)
        frames = {part.f_code.co_qualname for part in held if isinstance(part, FrameType)}
        assert not any(marked(part) for part in held), f"frames that stay: {sorted(frames)}"
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("case", REFUSED)
def test_no_refusal_leaves_its_body_to_the_garbage_collector(live: Live, case: str) -> None:
    require_nothing_left(live, *REFUSED[case])


def test_neither_does_a_video_whose_client_leaves_before_its_end(live: Live) -> None:
    head = b"POST /v1/video HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with nothing_left():
        with socket.create_connection(live.address, timeout=20) as connection:
            connection.sendall(head + bikes()[:250_000] + MARK)
            time.sleep(0.5)  # it is read
        time.sleep(0.5)


def test_what_was_not_read_does_not_stay_with_an_idle_connection(live: Live) -> None:
    head = b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(MARKED)
    with socket.create_connection(live.address, timeout=20) as connection:
        connection.sendall(head + MARKED)
        assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
        time.sleep(0.3)
        bodies = [part.body for part in gc.get_objects() if isinstance(part, RequestResponseCycle)]
        assert not any(marked(body) for body in bodies)


def test_neither_does_one_where_several_models_fill_in_a_tag(tmp_path: Path) -> None:
    for name in ("colors", "shades"):
        write_servable(tmp_path, name)
    with serve(models=tmp_path) as live:
        require_nothing_left(live, "/label-studio/predict", label_studio(CHOICES, PHOTOGRAPH))


@pytest.fixture(scope="module")
def caching() -> Iterator[Live]:
    with serve(response_cache_bytes=1_000_000, queue_size=1) as service:
        yield service


@pytest.mark.parametrize(
    ("query", "headers"),
    [("", LATE), ("?format=overlay", LATE), ("", {})],
    ids=["late", "a drawing that is late", "a full queue"],
)
def test_neither_does_one_with_a_response_cache(
    caching: Live, query: str, headers: dict[str, str]
) -> None:
    images = [base64.b64encode(MARKED + bytes([number])).decode() for number in range(4)]
    body = MARKED if headers else json.dumps({"images": images, "mark": MARK.decode()}).encode()
    require_nothing_left(caching, f"/v1/segment{query}", body, headers)
