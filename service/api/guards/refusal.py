"""How a guard refuses: with a problem, through the guards around it, which add their headers to it."""

from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from service.api.errors import problem
from service.api.record import RECORD_KEY, RequestRecord
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
    record: RequestRecord = scope[RECORD_KEY]
    record.error_code = error.code
    response = problem(error, record.request_id)
    response.raw_headers.extend(headers)
    await response(scope, receive, send)
