"""Keys, on a real socket."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import httpx
import pytest

from service.api.record import RequestRecord
from service.errors import OverloadedError
from tests.keys import bearer, key_of, write_keys
from tests.live import Live, problem, serve, start

CAT = (Path(__file__).parents[1] / "data" / "cat.jpg").read_bytes()


def test_an_image_is_answered_with_a_key_and_refused_without(models: Path, keys: Path) -> None:
    with serve(models=models, keys=keys) as live, httpx.Client(base_url=live.url) as http:
        answer = http.post("/v1/classify", content=CAT, headers=bearer("ada"))
        assert answer.status_code == 200
        assert answer.json()["model"] == "colors"
        refused = http.post("/v1/classify", content=CAT)
        problem(refused, 401, "unauthorized")
        assert "colors" not in refused.text
        # The connection of a refused request goes on.
        assert http.post("/v1/classify", content=CAT, headers=bearer("ada")).status_code == 200


def test_a_large_body_without_a_key_is_not_read(models: Path, keys: Path) -> None:
    with serve(models=models, keys=keys) as live:
        sent = 0

        def body() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(1024):
                yield bytes(2**20)
                sent += 1

        with httpx.Client(base_url=live.url) as http:
            try:
                answer = http.post("/v1/video", content=body())
                assert answer.status_code == 401
            except httpx.TransportError:
                pass  # the connection was closed under what is still sent
        assert sent < 64
        assert live.sample("foveal_errors_total", code="unauthorized") == 1
        assert live.sample("foveal_request_bytes_total", route="unmatched") == 0


class FullQueue:
    """A queue that never has room."""

    def room(self) -> int:
        return 0


GUARDED: list[dict[str, Any]] = [
    {"keys": "keys"},
    {"allowed_hosts": ["127.0.0.1"]},
    {"cors_origins": ["https://app.example.org"]},
    {"rate_limit_per_key": "5/second"},
    {"rate_limit_per_address": "5/second"},
    {"queue_share": 0.5},
]


@pytest.mark.parametrize("settings", [{}, *GUARDED])
def test_a_full_queue_refuses_before_the_guards_only_where_no_guard_may_refuse(
    models: Path, keys: Path, settings: dict[str, Any]
) -> None:
    given = {**settings, **({"keys": keys} if "keys" in settings else {})}
    queue, error = FullQueue(), OverloadedError("256 images wait for colors.")
    error.room = WeakMethod(queue.room)
    with serve(models=models, **given) as live:
        target = {"raw_path": b"/v1/classify", "path": "/v1/classify", "query_string": b""}
        live.services.shedding.note(target, RequestRecord("mine"), error)
        answer = httpx.post(f"{live.url}/v1/classify", content=CAT)
        if not settings:
            assert "256 images wait" in problem(answer, 503, "overloaded")
        elif "keys" in settings:
            problem(answer, 401, "unauthorized")
            assert "colors" not in answer.text
        else:
            assert answer.status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rotated_key_needs_no_restart(models: Path, keys: Path, workers: int) -> None:
    with start(models=models, keys=keys, workers=workers, grace_seconds=0) as service:
        url = f"{service.url}/v1/models"
        assert httpx.get(url, headers=bearer("ada")).status_code == 200
        write_keys(keys, {"new": ["infer"]})
        until, answered = time.monotonic() + 40, 0
        while answered < 5:  # by every process: each request is on a connection of its own
            assert time.monotonic() < until, "a worker still knows the former key"
            status = [httpx.get(url, headers=bearer(name)).status_code for name in ("ada", "new")]
            answered = answered + 1 if status == [401, 200] else 0


def until_last(statuses: list[int], status: int) -> None:
    while statuses[-1:] != [status]:
        time.sleep(0.01)


def test_keys_that_are_replaced_again_and_again_under_load_refuse_only_those_that_left(
    models: Path, keys: Path
) -> None:
    """Whole files, half ones and none take turns; a key that each whole one has is valid all the time."""
    stays, comes = ("bob", ("infer",)), ("ada", ("infer",))
    write_keys(keys, dict([stays]))
    statuses: dict[str, list[int]] = {"bob": [], "ada": [], "eve": []}
    done = threading.Event()

    def ask(live: Live, name: str) -> None:
        with httpx.Client(base_url=live.url, headers=bearer(name), timeout=30) as http:
            while not done.is_set():
                statuses[name].append(http.post("/v1/classify", content=CAT).status_code)

    with serve(models=models, keys=keys) as live, ThreadPoolExecutor(3) as clients:
        asking = [clients.submit(ask, live, name) for name in statuses]
        try:
            for _ in range(2):
                keys.write_text("[half")
                write_keys(keys, dict([stays, comes]))
                until_last(statuses["ada"], 200)
                keys.unlink()
                write_keys(keys, dict([stays]))
                until_last(statuses["ada"], 401)
        finally:
            done.set()
        for one in asking:
            one.result()
    found = {name: set(each) for name, each in statuses.items()}
    assert found == {"bob": {200}, "ada": {200, 401}, "eve": {401}}


def test_without_keys_the_start_says_so_loudly(models: Path) -> None:
    with start(models=models, grace_seconds=0) as service:
        httpx.get(f"{service.url}/health/live")
        service.process.terminate()
        service.wait_for_exit()
        (line,) = [one for one in service.lines if "No API keys are set" in str(one["message"])]
        assert line["level"] == "warning"


def test_the_audit_log_names_who_and_what_and_no_key(models: Path, keys: Path) -> None:
    with start(models=models, keys=keys, grace_seconds=0) as service:
        httpx.post(f"{service.url}/v1/admin/load", headers=bearer("root"))
        httpx.post(f"{service.url}/v1/classify", headers={"X-API-Key": key_of("guess")})
        httpx.get(f"{service.url}/v1/models", headers=bearer("ada"))
        service.process.terminate()
        service.wait_for_exit()
        (call,) = [one for one in service.lines if str(one["message"]).startswith("admin call")]
        assert (call["key"], call["status"], call["address"]) == ("root", 404, "127.0.0.1")
        (refused,) = [one for one in service.lines if str(one["message"]).startswith("refused")]
        assert (refused["key"], refused["status"]) == ("", 401)
        (answered,) = [one for one in service.lines if one["message"] == "GET /v1/models 200"]
        assert answered["key"] == "ada"
        assert "foveal_" not in repr(service.lines)
        assert not service.logged("No API keys are set")


def test_every_answer_forbids_a_browser_to_guess_its_type(models: Path, keys: Path) -> None:
    with serve(models=models, keys=keys) as live, httpx.Client(base_url=live.url) as http:
        for path in ("/", "/docs", "/playground/script/main.js", "/openapi.json", "/nothing"):
            answer = http.get(path, headers=bearer("root"))
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"], path
        for path in ("/", "/docs"):
            page = http.get(path)
            assert page.headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        with socket.create_connection(live.address) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            assert b"x-content-type-options: nosniff" in raw.recv(4096)
