"""Serving on a socket: what signals do, where it listens, and what runs beside it."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.api.middleware import Telemetry
from service.app import create_app
from service.engine import Engine
from service.errors import ConfigurationError
from service.processes.server import Server, listen, url_of
from service.settings import Settings

pytestmark = pytest.mark.anyio


def app_of(models: Path, on_loaded: Callable[[], None] | None = None) -> Telemetry:
    settings = Settings(models=models)
    return create_app(Engine(settings, on_loaded=on_loaded), settings)


def server_of(models: Path, grace_seconds: float = 0) -> Server:
    return Server(app_of(models), grace_seconds=grace_seconds, drain_seconds=1)


def test_a_first_sigterm_drains_and_further_ones_never_force(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    server = Server(app, grace_seconds=60, drain_seconds=1)
    loop = asyncio.new_event_loop()
    server._loop = loop  # noqa: SLF001  # as `serve` sets it
    server.handle_exit(signal.SIGTERM, None)
    assert (app.services.draining, server.should_exit) == (True, False)
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit) == (True, False)
    for _ in range(5):
        server.handle_exit(signal.SIGTERM, None)
        server.handle_exit(signal.SIGHUP, None)
    assert not server.force_exit
    loop.close()


def test_only_the_third_sigint_ends_without_the_answers(tmp_path: Path) -> None:
    server = server_of(tmp_path)
    forced = []
    for _ in range(4):
        server.handle_exit(signal.SIGINT, None)
        forced.append(server.force_exit)
    assert forced == [False, False, True, True]


def test_sigint_and_a_service_without_grace_exit_at_once(tmp_path: Path) -> None:
    for grace_seconds, number in ((60, signal.SIGINT), (0, signal.SIGTERM)):
        server = server_of(tmp_path, grace_seconds)
        server.handle_exit(number, None)
        assert server.should_exit
        assert not server.force_exit


async def test_what_runs_beside_begins_before_the_app_and_ends_after_it(tmp_path: Path) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        events.append("begin")
        yield
        events.append("end")

    app = app_of(tmp_path, lambda: events.append("loaded"))
    server = Server(app, grace_seconds=0, drain_seconds=1, beside=beside())
    with listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        while "loaded" not in events:
            await asyncio.sleep(0)
        server.should_exit = True
        await serving
    assert events == ["begin", "loaded", "end"]


def test_a_taken_port_is_an_error_that_names_the_option() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}: .* --port"):
            listen("127.0.0.1", port)


def test_the_url_is_one_that_a_browser_on_this_machine_can_open() -> None:
    with listen("127.0.0.1", 0) as local, listen("0.0.0.0", 0) as every:  # noqa: S104  # as containers do
        assert url_of(local) == f"http://127.0.0.1:{local.getsockname()[1]}"
        assert url_of(every) == f"http://localhost:{every.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_ipv6_address_is_in_brackets() -> None:
    try:
        listener = listen("::1", 0)
    except ConfigurationError as error:
        pytest.skip(str(error))
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6 beside IPv4")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(address: str) -> None:
    with listen("::", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((address, port), timeout=10):
            pass
        assert url_of(listener) == f"http://localhost:{port}"
