"""How a guard refuses: with an error, through the guards around it, which add their headers to it."""

from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from service.api.error_forms import error_response
from service.errors import FovealError


async def refuse(
    error: FovealError,
    scope: Scope,
    receive: Receive,
    send: Send,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send the response for an error, with further headers.

    An error that is raised would pass the other guards by.
    """
    response = error_response(error, scope)
    response.raw_headers.extend(headers)
    await response(scope, receive, send)
