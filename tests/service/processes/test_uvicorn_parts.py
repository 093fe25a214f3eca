"""The installed uvicorn still has the undocumented parts that `Server` uses."""

import asyncio
import inspect

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.processes.uvicorn_parts import (
    FlowControl,
    HttpToolsProtocol,
    close_listeners,
    has_request,
    make_protocol,
    open_connections,
)

pytestmark = pytest.mark.anyio

CHANGED = (
    f"uvicorn {uvicorn.__version__} changed {{}}, which service/processes uses. "
    "Read uvicorn/server.py of this version and adapt service/processes/uvicorn_parts.py and server.py."
)


async def app(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


def server(http: str = "auto") -> uvicorn.Server:
    """Return a server in the state in which uvicorn's `startup` makes protocols."""
    config = uvicorn.Config(app, http=http, lifespan="off", log_config=None)
    config.load()
    made = uvicorn.Server(config)
    made.lifespan = config.lifespan_class(config)
    return made


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("run", ["self", "sockets"]),
        ("serve", ["self", "sockets"]),
        ("startup", ["self", "sockets"]),
        ("on_tick", ["self", "counter"]),
        ("shutdown", ["self", "sockets"]),
        ("_wait_tasks_to_complete", ["self"]),
        ("handle_exit", ["self", "sig", "frame"]),
    ],
)
def test_the_methods_that_server_overrides_exist_and_take_the_same_parameters(
    method: str, parameters: list[str]
) -> None:
    found = getattr(uvicorn.Server, method, None)
    assert found is not None, CHANGED.format(f"Server.{method}")
    assert list(inspect.signature(found).parameters) == parameters, CHANGED.format(
        f"the parameters of Server.{method}"
    )
    assert inspect.iscoroutinefunction(found) == (method not in {"run", "handle_exit"})


@pytest.mark.parametrize("attribute", ["should_exit", "force_exit"])
def test_the_flags_that_end_the_server_exist(attribute: str) -> None:
    assert getattr(server(), attribute, None) is False, CHANGED.format(f"Server.{attribute}")


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("main_loop", "self.on_tick("),
        ("capture_signals", "self.handle_exit"),
        ("_serve", "self.startup("),
        ("_serve", "self.shutdown("),
    ],
)
def test_uvicorn_calls_the_overridden_methods_where_it_did(method: str, call: str) -> None:
    text = inspect.getsource(getattr(uvicorn.Server, method, object))
    assert call in text, CHANGED.format(f"Server.{method}, which no longer calls {call}")


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_a_connection_is_served_counted_and_known_to_have_a_request(http: str) -> None:
    serving = server(http)
    async with asyncio.timeout(10):
        listener = await asyncio.get_running_loop().create_server(
            lambda: make_protocol(serving), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname()[:2])
        while not open_connections(serving):
            await asyncio.sleep(0)
        (connection,) = open_connections(serving)
        assert not has_request(connection), CHANGED.format("when `cycle` of a protocol is set")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 204"), CHANGED.format("its protocols")
        assert has_request(connection), CHANGED.format("`cycle` of a protocol")
        writer.close()
        while open_connections(serving):
            await asyncio.sleep(0)
        listener.close()


async def test_the_sockets_that_uvicorn_listens_on_can_be_closed() -> None:
    serving = server()
    await serving.startup([])
    assert serving.servers == [], CHANGED.format("Server.servers")
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    serving.servers.append(listener)
    close_listeners(serving)
    assert not listener.is_serving()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("connection_made", ["self", "transport"]),
        ("connection_lost", ["self", "exc"]),
        ("data_received", ["self", "data"]),
        ("on_header", ["self", "name", "value"]),
        ("on_headers_complete", ["self"]),
        ("on_body", ["self", "body"]),
        ("on_message_complete", ["self"]),
        ("on_response_complete", ["self"]),
        ("timeout_keep_alive_handler", ["self"]),
        ("_unset_keepalive_if_required", ["self"]),
    ],
)
def test_the_methods_that_connection_overrides_or_calls_take_the_same_parameters(
    method: str, parameters: list[str]
) -> None:
    found = getattr(HttpToolsProtocol, method, None)
    assert found is not None, CHANGED.format(f"HttpToolsProtocol.{method}")
    assert list(inspect.signature(found).parameters) == parameters, CHANGED.format(method)


async def test_a_connection_has_the_state_that_ours_reads() -> None:
    serving = server("httptools")
    connection = make_protocol(serving)
    for name in ("parser", "headers", "cycle", "pipeline", "flow", "timeout_keep_alive_task"):
        assert hasattr(connection, name), CHANGED.format(f"{name} of HttpToolsProtocol")
    text = inspect.getsource(inspect.getmodule(HttpToolsProtocol) or object)
    for name in (
        "keep_alive", "disconnected", "message_event", "response_started", "body",
        "waiting_for_100_continue", "chunked_encoding", "expected_content_length",
    ):  # fmt: skip
        assert f"self.{name} = " in text, CHANGED.format(f"{name} of a request's cycle")
    assert "self.flow.pause_reading()" in text, CHANGED.format("where reading is paused")
    assert list(inspect.signature(FlowControl.__init__).parameters) == ["self", "transport"]
