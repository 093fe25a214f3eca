"""Keys, limits, certificates and proxies, on a real socket."""

import contextlib
import io
import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import httpx
import numpy as np
import pytest
import trustme
from PIL import Image

from service.api.record import RECORD_KEY, RequestRecord
from service.errors import OverloadedError
from service.processes.server import GOODBYE_SECONDS
from tests.clips import bikes
from tests.images import encode
from tests.keys import bearer, key_of, write_keys
from tests.live import Live, bundled, problem, serve, start
from tests.servables import write_servable

CAT = (Path(__file__).parents[1] / "data" / "cat.jpg").read_bytes()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    write_servable(root)
    return root


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys.toml")


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


def certificate(tmp_path: Path, authority: trustme.CA, name: str) -> dict[str, Any]:
    made = authority.issue_cert(name)
    keyfile, certfile = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
    made.private_key_pem.write_to_path(str(keyfile))
    for number, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(str(certfile), append=number > 0)
    return {"ssl_certfile": certfile, "ssl_keyfile": keyfile}


def speaks(live: Live, version: str) -> bool:
    """Whether OpenSSL's client, which allows the old version itself, gets a connection."""
    address = live.url.removeprefix("https://")
    command = ["openssl", "s_client", version, "-cipher", "DEFAULT@SECLEVEL=0", "-connect", address]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    return done.returncode == 0


def renegotiated(live: Live) -> str:
    """Return what OpenSSL's client says when it asks for another handshake on its connection."""
    command = ["openssl", "s_client", "-tls1_2", "-connect", live.url.removeprefix("https://")]
    return subprocess.run(
        command, input="R\n", capture_output=True, text=True, timeout=30, check=False
    ).stderr


def test_a_client_that_begins_no_handshake_is_closed(models: Path, tmp_path: Path) -> None:
    files = certificate(tmp_path, trustme.CA(), "127.0.0.1")
    with serve(models=models, head_timeout_ms=300, **files) as live:
        with socket.create_connection(live.address, timeout=30) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection(live.address, timeout=30) as plain:
            plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP" not in plain.recv(100)


def test_handshakes_that_do_not_end_give_way_to_a_client_that_comes(
    models: Path, tmp_path: Path
) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    files = certificate(tmp_path, authority, "127.0.0.1")
    with (
        serve(models=models, head_timeout_ms=3_600_000, max_connections=4, **files) as live,
        contextlib.ExitStack() as held,
    ):
        silent = [
            held.enter_context(socket.create_connection(live.address, timeout=30)) for _ in range(4)
        ]
        until, answer = time.monotonic() + 40, None
        with httpx.Client(base_url=live.url, verify=trusting) as http:
            while answer is None and time.monotonic() < until:  # for a second they are left alone
                with contextlib.suppress(httpx.TransportError):
                    answer = http.get("/health/live")
        assert answer is not None, "handshakes that do not end keep everybody out"
        assert answer.status_code == 200
        assert silent[0].recv(1) == b"", "the oldest one was closed"


def test_https_with_a_certificate_that_the_client_trusts(models: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with serve(models=models, **certificate(tmp_path, authority, "127.0.0.1")) as live:
        assert live.url.startswith("https://")
        with httpx.Client(base_url=live.url, verify=trusting) as http:
            for _ in range(2):
                assert http.post("/v1/classify", content=CAT).status_code == 200
        with httpx.Client(base_url=live.url) as http, pytest.raises(httpx.ConnectError):
            http.get("/health/live")
        plain = live.url.replace("https", "http")
        with httpx.Client(base_url=plain) as http, pytest.raises(httpx.TransportError):
            http.get("/health/live")
        assert speaks(live, "-tls1_3")
        assert speaks(live, "-tls1_2")
        assert not speaks(live, "-tls1_1")
        assert "no renegotiation" in renegotiated(live)


def noise() -> bytes:
    """Return an image that is 4.5 MB as a PNG: more than the system's buffers hold."""
    pixels = np.random.default_rng(0).integers(0, 255, (1000, 1500, 3), dtype=np.uint8)
    return encode(Image.fromarray(pixels), "JPEG")


@contextlib.contextmanager
def reading_little(live: Live, trusting: ssl.SSLContext, *headers: str) -> Iterator[ssl.SSLSocket]:
    """Yield a connection with small buffers that has asked for a large answer, of which the head has come."""
    body = noise()
    lines = ("POST /v1/detect?format=overlay HTTP/1.1", "Host: x", "Accept: image/png", *headers)
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(60)
        raw.connect(live.address)
        with trusting.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            connection.sendall(head + body)
            yield connection


def test_over_tls_an_answer_that_is_not_read_is_given_up_and_a_slow_reader_gets_all_of_it(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    files = certificate(tmp_path, authority, "127.0.0.1")
    models = bundled(tmp_path, "ssdlite-mobilenet-v2")
    with serve(models=models, write_timeout_ms=3000, **files) as live:
        with reading_little(live, trusting, "Connection: close") as slow:
            received = bytearray()
            while data := slow.recv(65536):
                received += data
        head, _, answer = bytes(received).partition(b"\r\n\r\n")
        assert f"content-length: {len(answer)}" in head.decode().lower()
        Image.open(io.BytesIO(answer)).load()
        with reading_little(live, trusting) as silent:
            assert silent.recv(12) == b"HTTP/1.1 200"
            poll = select.poll()
            poll.register(silent, 0)
            ended = poll.poll(40_000)
        assert any(event & select.POLLHUP for _, event in ended), "it holds 4.5 MB for ever"


def test_over_tls_a_client_that_does_not_close_too_is_closed(models: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    files = certificate(tmp_path, authority, "127.0.0.1")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with (
        serve(models=models, **files) as live,
        socket.create_connection(live.address, timeout=GOODBYE_SECONDS + 10) as connection,
    ):
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
        client.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        connection.sendall(outgoing.read())
        while connection.recv(65536):  # and nothing is sent, whatever comes
            pass


def test_mutual_tls_answers_only_clients_with_a_certificate(models: Path, tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    files = certificate(tmp_path, authority, "127.0.0.1")
    with serve(models=models, ssl_ca_certs=ca, **files) as live:
        for signer, works in ((authority, True), (other, False), (None, False)):
            context = ssl.create_default_context()
            authority.configure_trust(context)
            if signer is not None:
                signer.issue_cert("client.example").configure_cert(context)
            with httpx.Client(base_url=live.url, verify=context) as http:
                if works:
                    assert http.post("/v1/classify", content=CAT).status_code == 200
                else:
                    with pytest.raises(httpx.TransportError):
                        http.get("/health/live")


def forwarded(live: Live, address: str) -> int:
    headers = {"X-Forwarded-For": address}
    return httpx.get(f"{live.url}/v1/models", headers=headers).status_code


def test_forwarded_addresses_count_only_from_a_named_proxy(models: Path) -> None:
    limit: dict[str, Any] = {"rate_limit_per_address": "1/hour"}
    with serve(models=models, **limit) as live:
        assert [forwarded(live, f"10.0.0.{n}") for n in range(3)] == [200, 429, 429]
    with serve(models=models, trusted_proxies=["127.0.0.0/8"], **limit) as live:
        assert [forwarded(live, f"10.0.0.{n}") for n in range(3)] == [200, 200, 200]
        # What the client itself wrote stands before what the proxy added.
        assert forwarded(live, "1.2.3.4, 10.0.0.1") == 429
        lines = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "10.0.0.1")]
        assert httpx.get(f"{live.url}/v1/models", headers=lines).status_code == 429
        # A second proxy names the first one; one that listens on IPv6 does so in the form of IPv6.
        for first in ("127.0.0.9", "127.0.0.9:80", "::ffff:127.0.0.9", "[::FFFF:7f00:9]:80"):
            assert forwarded(live, f"10.0.0.1, {first}") == 429
        assert forwarded(live, "10.0.0.1, ::ffff:126.0.0.9") == 200
    with serve(models=models, trusted_proxies=["192.0.2.1"], **limit) as live:
        assert [forwarded(live, f"10.0.0.{n}") for n in range(2)] == [200, 429]


def test_all_addresses_of_a_network_of_ipv6_are_one_client_also_behind_a_proxy(
    models: Path,
) -> None:
    """A server has 2**64 addresses of its own, and proxies write them with and without brackets and a port."""
    limit: dict[str, Any] = {"host": "::1", "rate_limit_per_address": "2/hour"}
    with serve(models=models, trusted_proxies=["::1"], **limit) as live:
        one_network = ("2001:db8:0:1::1", "[2001:db8:0:1::2]", "[2001:db8:0:1:ffff::3]:443")
        assert [forwarded(live, one) for one in one_network] == [200, 200, 429]
        assert forwarded(live, "2001:DB8:0000:0001:0:0:0:9") == 429
        assert forwarded(live, "2001:db8:0:2::1") == 200
        one_address = ("192.0.2.7:1000", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:1001")
        assert [forwarded(live, one) for one in one_address] == [200, 200, 429]
    with serve(models=models, **limit) as live:
        others = ("2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1")
        assert [forwarded(live, one) for one in others] == [200, 200, 429]


def test_a_new_certificate_counts_after_a_restart(models: Path, tmp_path: Path) -> None:
    former, later = trustme.CA(), trustme.CA()
    files = certificate(tmp_path, former, "127.0.0.1")

    def trusts(live: Live, authority: trustme.CA) -> bool:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        try:
            return httpx.get(f"{live.url}/health/live", verify=context).status_code == 200
        except httpx.ConnectError:
            return False

    with serve(models=models, **files) as live:
        assert certificate(tmp_path, later, "127.0.0.1") == files
        assert (trusts(live, former), trusts(live, later)) == (True, False)
    with serve(models=models, **files) as live:
        assert (trusts(live, former), trusts(live, later)) == (False, True)


def test_each_worker_counts_a_limit_for_itself(models: Path) -> None:
    settings: dict[str, Any] = {"rate_limit_per_address": "3/hour", "workers": 2}
    with start(models=models, grace_seconds=0, **settings) as service:
        url = f"{service.url}/v1/models"
        found = [httpx.get(url).status_code for _ in range(30)]  # each on a connection of its own
        assert set(found) == {200, 429}
        assert 3 <= found.count(200) <= 6


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


@pytest.mark.parametrize("limit", [32, 31])
def test_a_limit_that_many_connections_reach_in_the_same_moment_is_exact(
    models: Path, limit: int
) -> None:
    together = threading.Barrier(32)

    def ask(url: str) -> int:
        with httpx.Client(base_url=url, timeout=30) as http:
            together.wait(30)
            return http.post("/v1/classify", content=CAT).status_code

    with (
        serve(models=models, rate_limit_per_address=f"{limit}/hour") as live,
        ThreadPoolExecutor(32) as clients,
    ):
        statuses = sorted(clients.map(ask, [live.url] * 32))
    assert statuses == [200] * limit + [429] * (32 - limit)


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


@pytest.mark.parametrize("path", ["classify", "explain?view=cam", "video"])
def test_a_client_with_its_share_of_the_queue_waits_and_another_does_not(
    models: Path, keys: Path, path: str
) -> None:
    """The share is taken from outside, as by requests that wait."""
    settings: dict[str, Any] = {
        "models": models,
        "keys": keys,
        "queue_size": 200,
        "max_fan_outs": 2,
    }
    body = bikes() if path == "video" else CAT
    with serve(queue_share=0.5, **settings) as live, httpx.Client(base_url=live.url) as http:
        record = RequestRecord("id")
        record.client = "bob"
        scope = {RECORD_KEY: record}
        shares = live.services.shares
        assert shares is not None
        with shares.images(scope, "colors", 100), shares.fan_out(scope):
            refused = http.post(f"/v1/{path}", content=body, headers=bearer("bob"))
            problem(refused, 429, "queue_share")
            assert refused.headers["retry-after"] == "1"
            other = "eve" if path.startswith("explain") else "ada"
            passed = http.post(f"/v1/{path}", content=body, headers=bearer(other))
            assert passed.status_code == 200, passed.text
        for _ in range(3):
            again = http.post(f"/v1/{path}", content=body, headers=bearer("bob"))
            assert again.status_code == 200, again.text


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
