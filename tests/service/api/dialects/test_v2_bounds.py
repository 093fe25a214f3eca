"""What a V2 request may cost: its numbers, its outputs, its time, and what its client does not read."""

import json
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import httpx
import numpy as np
import onnx
import pytest
from fastapi import Request
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.api.dialects.v2.compression import PIECE_BYTES, compress
from service.api.dialects.v2.infer import read_body_apart
from service.api.ingest.numbers import array_from_bytes
from service.api.output_room import OutputRoom
from service.api.record import RequestRecord
from service.api.tensors import TensorLimits
from service.card import Card
from service.errors import DeadlineError, InvalidParameterError, OverloadedError
from service.runtime.signature import Signature, TensorInfo
from tests.keys import bearer, write_keys
from tests.live import Live, serve
from tests.servables import color_card, color_model, write_servable
from tests.service.api.dialects.answers import refused

MIB = 2**20
SIDE = 512
MAP_BYTES = 3 * SIDE * SIDE * 4
LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/wide/infer"
BLACK = bytes(8 * 8 * 3)
SILENT = 5
"""Clients that read nothing. The kernel takes up to 4 MiB of each answer, which the service does not count."""


def wide_model() -> onnx.ModelProto:
    """Return a classifier of colors with a map of 3 MiB, and with quotients that a black image makes NaN."""
    model = color_model()
    constants: dict[str, np.ndarray[Any, Any]] = {
        "none": np.zeros((), np.float32),
        "sides": np.array([1, 1, SIDE, SIDE], np.int64),
        "axes": np.array([2, 3], np.int64),
    }
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    model.graph.node.extend(
        [
            helper.make_node("Div", ["features", "none"], ["quotients"]),
            helper.make_node("Unsqueeze", ["features", "axes"], ["pixel"]),
            helper.make_node("Expand", ["pixel", "sides"], ["maps"]),
        ]
    )
    shapes: dict[str, list[int | str]] = {
        "quotients": ["N", 3],
        "maps": ["N", 3, SIDE, SIDE],
    }
    for name, shape in shapes.items():
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    card = color_card().model_copy(update={"name": "wide"})
    write_servable(folder, "wide", model=wide_model(), card=card)
    return folder


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[Live]:
    with serve(models=root, max_answer_bytes=20 * MIB) as service:
        yield service


@pytest.fixture
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, headers={"Accept-Encoding": ""}, timeout=30) as client:
        yield client


def request(*outputs: str, rows: int = 1, binary: bool = False) -> tuple[bytes, dict[str, str]]:
    pixels = BLACK * rows
    one = {"name": "image", "shape": [rows, 8, 8, 3], "datatype": "UINT8"}
    top = {
        "inputs": [{**one, "parameters": {"binary_data_size": len(pixels)}}],
        "outputs": [{"name": name, "parameters": {"binary_data": binary}} for name in outputs],
    }
    text = json.dumps(top).encode()
    return text + pixels, {LENGTH: str(len(text))}


def test_numbers_that_json_does_not_have_are_sent_as_bytes_only(http: httpx.Client) -> None:
    body, headers = request("quotients")
    refused(http.post(INFER, content=body, headers=headers), 400, "NaN, or an infinite one")
    body, headers = request("quotients", binary=True)
    answer = http.post(INFER, content=body, headers=headers)
    assert answer.status_code == 200
    size = int(answer.headers[LENGTH])
    assert np.isnan(np.frombuffer(answer.content[size:], "<f4")).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bytes_that_are_no_finite_number_are_refused(bad: float) -> None:
    good = np.arange(6, dtype="<f4")
    found = array_from_bytes(good.tobytes(), (2, 3), np.dtype(np.float32))
    assert found.tolist() == good.reshape(2, 3).tolist()
    good[4] = bad
    with pytest.raises(InvalidParameterError, match="NaN or infinite"):
        array_from_bytes(good.tobytes(), (2, 3), np.dtype(np.float32))


@dataclass
class NotingView:
    """A model of floats (3, 512, 512) that notes which threads read its tensors' names."""

    name: str = "floats"
    version: int = 1
    card: Card = field(default_factory=color_card)
    blank: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((3, SIDE, SIDE), np.float32)
    )
    threads: set[int] = field(default_factory=set)

    @property
    def signature(self) -> Signature:
        self.threads.add(threading.get_ident())
        return Signature((TensorInfo("x", "tensor(float)", (None, 3, SIDE, SIDE)),), ())


@pytest.mark.anyio
@pytest.mark.parametrize("is_raw", [False, True])
async def test_large_tensors_of_floats_are_checked_beside_the_event_loop(*, is_raw: bool) -> None:
    described = NotingView()
    numbers = described.blank.tobytes()
    one = {"name": "x", "shape": [1, 3, SIDE, SIDE], "datatype": "FP32"}
    top = {"inputs": [{**one, "parameters": {"binary_data_size": len(numbers)}}]}
    text = b"" if is_raw else json.dumps(top).encode()
    request = Request({"type": "http", "headers": [(LENGTH.lower().encode(), b"%d" % len(text))]})
    found = await read_body_apart(request, text + numbers, described, TensorLimits(8, 200))
    assert found.input.rows is not None
    assert found.input.rows.shape == (1, 3, SIDE, SIDE)
    assert described.threads
    assert threading.get_ident() not in described.threads


def test_json_has_so_many_numbers_of_all_outputs_together(http: httpx.Client) -> None:
    body, headers = request("maps", "features", rows=6)
    numbers = 6 * (3 * SIDE * SIDE + 3)
    refused(http.post(INFER, content=body, headers=headers), 400, f"have {numbers} numbers")
    body, headers = request("maps", "features", rows=1)
    answer = http.post(INFER, content=body, headers=headers).json()
    assert [len(one["data"]) for one in answer["outputs"]] == [3 * SIDE * SIDE, 3]


def test_outputs_of_all_requests_together_are_bounded(http: httpx.Client, live: Live) -> None:
    body, headers = request("maps", rows=4, binary=True)
    with live.services.outputs.hold(10 * MIB):  # as by a request that waits
        answer = http.post(INFER, content=body, headers=headers)
        refused(answer, 503, "Exceeds maximum queue size: The outputs of requests hold 10 MiB")
        assert answer.headers["retry-after"].isdigit()
    for _ in range(3):  # what was held is given back
        assert http.post(INFER, content=body, headers=headers).status_code == 200
    assert live.services.outputs.bytes == 0


def instances(rows: int) -> dict[str, Any]:
    return {"instances": np.zeros((rows, 8, 8, 3), int).tolist()}


def test_outputs_of_kserve_v1_have_the_same_room_and_no_nan(http: httpx.Client, live: Live) -> None:
    path = "/v1/models/wide:predict"
    with live.services.outputs.hold(19 * MIB):
        answer = http.post(path, json=instances(1))
        refused(answer, 503, "The outputs of requests hold 19 MiB")
    refused(http.post(path, json=instances(1)), 400, "NaN, or an infinite one. Use /v2 with")
    refused(http.post(path, json=instances(6)), 400, "are sent as JSON. Use /v2 with binary_data")
    assert live.services.outputs.bytes == 0


def test_outputs_that_are_alone_are_always_admitted() -> None:
    room = OutputRoom(10)
    with room.hold(11), pytest.raises(OverloadedError), room.hold(1):
        raise AssertionError("it was admitted")
    with room.hold(5), room.hold(5):
        assert room.bytes == 10


class FullQueue:
    """A queue that never has room."""

    def room(self) -> int:
        return 0


def test_a_full_queue_refuses_before_the_body_in_the_protocols_form(root: Path) -> None:
    queue, error = FullQueue(), OverloadedError("256 images wait already.")
    error.room = WeakMethod(queue.room)
    with serve(models=root) as live, socket.create_connection(live.address, timeout=20) as client:
        target = {"raw_path": INFER.encode(), "query_string": b"", "path": INFER}
        live.services.shedding.note(target, RequestRecord("mine"), error)
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\nContent-Length: 1000\r\n\r\n"
        client.sendall(head.encode())  # and no byte of the body
        answer = httpx.Response(503, content=read_one(client))
        assert answer.json() == {"error": "Exceeds maximum queue size: 256 images wait already."}


def test_a_queue_that_refused_is_remembered(root: Path) -> None:
    with serve(models=root, queue_size=1) as live:
        body, headers = request("features", rows=1)
        error = OverloadedError("full")
        queue = FullQueue()
        error.room = WeakMethod(queue.room)
        [model] = live.services.engine.registry.models
        submit = model.batcher.submit

        async def full(*_: Any, **__: Any) -> Any:
            raise error

        model.batcher.submit = full  # type: ignore[method-assign]  # the only way to a full queue without a race
        first = httpx.post(f"{live.url}{INFER}", content=body, headers=headers)
        model.batcher.submit = submit  # type: ignore[method-assign]
        refused(first, 503, "Exceeds maximum queue size: full")
        second = httpx.post(f"{live.url}{INFER}", content=body, headers=headers)
        refused(second, 503, "Exceeds maximum queue size: full")
        assert second.headers["x-request-id"] != first.headers["x-request-id"]
        assert live.services.shedding.targets == 1


def read_one(client: socket.socket) -> bytes:
    """Return the body of one answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"x-request-id: mine" in head
    [size] = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    ]
    while len(body) < size:
        body += client.recv(65536)
    return body


def was_closed(clients: Sequence[socket.socket]) -> int:
    poll = select.poll()
    for one in clients:
        poll.register(one, 0)
    return sum(bool(event & select.POLLHUP) for _, event in poll.poll(20_000))


def test_of_clients_that_do_not_read_those_lose_their_answers_that_hold_most_for_longest(
    live: Live, http: httpx.Client
) -> None:
    """Twelve of them held 2.4 GB with 4 KB of requests."""
    body, headers = request("maps", rows=4, binary=True)  # 12 MiB of 20 that are allowed
    fields = {**headers, "Host": "x", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    head = f"POST {INFER} HTTP/1.1\r\n{lines}\r\n".encode()
    with ExitStack() as stack:
        silent = []
        for _ in range(SILENT):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(20)
            one.connect(live.address)
            one.sendall(head + body)
            assert one.recv(12) == b"HTTP/1.1 200"
            silent.append(one)
        assert 1 <= was_closed(silent) < SILENT
        answer = http.post(INFER, content=body, headers=headers)  # and one that reads is not closed
        assert len(answer.content) == int(answer.headers[LENGTH]) + 4 * MAP_BYTES


def test_an_answer_that_is_late_is_not_written_to_its_end() -> None:
    calls = 0

    def in_time() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise DeadlineError("late")

    with pytest.raises(DeadlineError):
        compress(bytes(5 * PIECE_BYTES), "gzip", in_time)
    assert calls == 3


def test_guards_refuse_in_the_protocols_form(root: Path, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    settings: dict[str, Any] = {
        "keys": keys,
        "allowed_hosts": ["127.0.0.1"],
        "rate_limit_per_key": "2/hour",
    }
    body, headers = request("features")
    with serve(models=root, **settings) as live, httpx.Client(base_url=live.url) as http:

        def post(**more: str) -> httpx.Response:
            return http.post(INFER, content=body, headers={**headers, **more})

        none = post()
        refused(none, 401, "needs an API key")
        assert none.headers["www-authenticate"].startswith("Bearer")
        assert "wide" not in none.text
        refused(post(**bearer("eve")), 403, "scope infer")
        refused(post(Host="FOVEAL_ALLOWED_HOSTS"), 421, "FOVEAL_ALLOWED_HOSTS")
        assert [post(**bearer("ada")).status_code for _ in range(2)] == [200, 200]
        late = post(**bearer("ada"))
        refused(late, 429, "More than 2 requests")
        assert late.headers["retry-after"].isdigit()
        assert "ratelimit-policy" in late.headers
        assert http.get("/v2/health/live").status_code == 200
