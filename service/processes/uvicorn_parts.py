"""The parts of uvicorn that its documentation does not promise, each used here and nowhere else.

`Server` also overrides `serve`, `startup`, `on_tick`, `shutdown`, `_wait_tasks_to_complete` and `handle_exit`, sets
`should_exit` and `force_exit`, and counts the `tasks` of `server_state`. `Connection` extends `HttpToolsProtocol`: it
overrides its parser's callbacks, reads its `cycle`, `pipeline` and `flow`, and says of the cycle of an HTTP/1.0 request
how its answer is framed. A test checks all of them against the
installed uvicorn.
"""

import asyncio
from collections.abc import Collection

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = [
    "HIGH_WATER_LIMIT",
    "FlowControl",
    "HttpToolsProtocol",
    "RequestResponseCycle",
    "close_listeners",
    "has_request",
    "make_protocol",
    "open_connections",
    "unanswered_in",
]


def make_protocol(server: uvicorn.Server) -> asyncio.Protocol:
    """Return what serves one connection, as uvicorn's own `startup` makes it."""
    return server.config.http_protocol_class(  # type: ignore[call-arg]
        config=server.config, server_state=server.server_state, app_state=server.lifespan.state
    )


def open_connections(server: uvicorn.Server) -> Collection[asyncio.Protocol]:
    """Return the protocols of the connections that are open now."""
    return server.server_state.connections


def has_request(connection: asyncio.Protocol) -> bool:
    """Return whether a connection's first request has been parsed."""
    return getattr(connection, "cycle", None) is not None


def unanswered_in(server: uvicorn.Server) -> list[RequestResponseCycle]:
    """Return the requests on open connections whose answer is not complete; `response_complete` says when it is."""
    cycles = [getattr(connection, "cycle", None) for connection in open_connections(server)]
    return [cycle for cycle in cycles if cycle is not None and not cycle.response_complete]


def close_listeners(server: uvicorn.Server) -> None:
    """Accept no more connections on the sockets that uvicorn itself listens on."""
    for listener in server.servers:
        listener.close()
