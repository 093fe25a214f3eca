"""Certificates and the ends of encrypted connections, on a real socket."""

import contextlib
import io
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
import trustme
from PIL import Image

from service.processes.leaving import MOST_LEAVING
from service.processes.server import GOODBYE_SECONDS
from service.processes.worker import SPARE_FILES
from tests.full_table import most_files
from tests.images import encode
from tests.live import Live, bundled, serve, start

T = TypeVar("T")
CAT = (Path(__file__).parents[1] / "data" / "cat.jpg").read_bytes()


def certificate(tmp_path: Path, authority: trustme.CA, name: str) -> dict[str, Any]:
    made = authority.issue_cert(name)
    keyfile, certfile = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
    made.private_key_pem.write_to_path(str(keyfile))
    for number, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(str(certfile), append=number > 0)
    return {"ssl_certfile": certfile, "ssl_keyfile": keyfile}


def trusted(tmp_path: Path) -> tuple[ssl.SSLContext, dict[str, Any]]:
    """Return what trusts a new authority, and the settings of a service with a certificate of it."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return trusting, certificate(tmp_path, authority, "127.0.0.1")


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
    trusting, files = trusted(tmp_path)
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


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of open files")
def test_handshakes_and_connections_together_leave_files_to_those_who_come(
    models: Path, tmp_path: Path
) -> None:
    """Either could be as many as may be open, and both together were more than there were files."""
    trusting, files = trusted(tmp_path)
    with contextlib.ExitStack() as held:
        with most_files(300):
            service = held.enter_context(start(models=models, log_format="json", **files))
        host, port = service.url.removeprefix("https://").split(":")
        places = 300 - SPARE_FILES
        for number in range(2 * places):
            one = held.enter_context(socket.create_connection((host, int(port)), timeout=30))
            if number < places:
                held.enter_context(trusting.wrap_socket(one, server_hostname=host))
        until, answer = time.monotonic() + 40, None
        with httpx.Client(base_url=service.url, verify=trusting) as http:
            while answer is None and time.monotonic() < until:  # for a second all are left alone
                with contextlib.suppress(httpx.TransportError):
                    answer = http.get("/health/live")
            assert answer is not None, "nobody gives way to a client that comes"
            assert "foveal_accept_errors_total 0.0" in http.get("/metrics").text
        assert not service.logged("Can not accept connections")


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
    trusting, files = trusted(tmp_path)
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


class StaysConnected:
    """A client over TLS that asks for one answer and for the end of its connection, and does not say goodbye."""

    def __init__(self, connection: socket.socket, trusting: ssl.SSLContext) -> None:
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trusting.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def ask(self) -> bytes:
        """Return the answer; bytes that come after it are never read as TLS."""
        self._until_done(self._tls.do_handshake)
        self._tls.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self._connection.sendall(self._outgoing.read())
        return self._until_done(self._tls.read)

    def _until_done(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._connection.sendall(self._outgoing.read())
                self._incoming.write(self._connection.recv(65536))


def test_over_tls_a_client_that_does_not_close_too_is_closed(models: Path, tmp_path: Path) -> None:
    trusting, files = trusted(tmp_path)
    with (
        serve(models=models, **files) as live,
        socket.create_connection(live.address, timeout=GOODBYE_SECONDS + 10) as connection,
    ):
        StaysConnected(connection, trusting).ask()
        while connection.recv(65536):  # and nothing is sent, whatever comes
            pass


def test_clients_that_do_not_say_goodbye_keep_nobody_out(models: Path, tmp_path: Path) -> None:
    trusting, files = trusted(tmp_path)
    with (
        serve(models=models, max_connections=2, **files) as live,
        contextlib.ExitStack() as held,
    ):
        for _ in range(MOST_LEAVING + 10):
            connection = socket.create_connection(live.address, timeout=30)
            answer = StaysConnected(held.enter_context(connection), trusting).ask()
            assert answer.startswith(b"HTTP/1.1 200 "), (
                "a place is kept by a client that was answered"
            )


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
