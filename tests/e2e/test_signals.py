"""What a signal costs the requests that are on their way: nothing, up to the third Ctrl+C."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.images import plain
from tests.live import Process, start

BODY = plain("red")
HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def half_sent(service: Process) -> socket.socket:
    """Return a connection whose request the service has begun to receive."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=15)
    connection.sendall(HEAD + BODY[:10])
    with httpx.Client(base_url=service.url) as http:
        while (
            b"in_flight 2.0" not in http.get("/metrics").content
        ):  # this one and the request for it
            time.sleep(0.01)
    return connection


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGHUP], [signal.SIGINT] * 2, [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]],
    ids=["SIGHUP", "SIGINT twice", "all"],
)
def test_a_request_on_its_way_is_answered(
    repository: Path, workers: int, signals: list[signal.Signals]
) -> None:
    with start(models=repository, workers=workers, grace_seconds=0.2) as service:
        with half_sent(service) as connection:
            for one in signals:
                service.process.send_signal(one)
                time.sleep(0.3)
            connection.sendall(BODY[10:])
            assert b" 200 " in connection.recv(65536).splitlines()[0]
        assert service.wait_for_exit() == 0
    logged = service.logged(r"(\d) requests are not answered yet; one more Ctrl\+C")
    assert bool(logged) == (signals.count(signal.SIGINT) > 1 or len(signals) == 3)


def test_the_third_ctrl_c_ends_at_once(repository: Path) -> None:
    with start(models=repository) as service, half_sent(service) as connection:
        for _ in range(3):
            service.process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        service.wait_for_exit()
        assert not connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert service.logged("the socket is closed; 1 request is not answered yet")
    assert service.logged(
        r"^Foveal ended .* after the signal; 1 request is left without an answer$"
    )


def started_ignoring(repository: Path, workers: str, ignored: str) -> "subprocess.Popen[str]":
    """Return a service that serves, and was started where a signal is ignored."""
    program = f"import signal, runpy, sys; signal.signal(signal.{ignored}, signal.SIG_IGN);"
    program += (
        "sys.argv = ['foveal', 'serve']; runpy.run_module('service.cli', run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={"FOVEAL_PORT": "0", "FOVEAL_MODELS": str(repository), "FOVEAL_WORKERS": workers},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            break
    return process


@pytest.mark.parametrize("workers", ["1", "2"])
def test_where_sighup_is_ignored_it_stays_so(repository: Path, workers: str) -> None:
    process = started_ignoring(repository, workers, "SIGHUP")
    try:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    finally:
        end(process)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigint_ends_it_also_where_the_shell_has_made_it_ignored(
    repository: Path, workers: str
) -> None:
    process = started_ignoring(repository, workers, "SIGINT")
    try:
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    finally:
        end(process)


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
