"""The one exception of the client, and which responses are worth another try."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

LONGEST_WAIT_SECONDS = 60.0
"""A service that wants a longer wait is not asked again."""


class FovealError(Exception):
    """A request that has no result.

    Attributes:
        status: the HTTP status; 0 where no response came.
        code: the stable code that docs/errors.md lists; `no_answer` where no response came, `not_foveal` where it is
            another program's, such as a proxy's.
        detail: what happened, and the next step.
        request_id: what the log of the service calls the request; empty where it is not known.
    """

    def __init__(self, status: int, code: str, detail: str, request_id: str = "") -> None:
        super().__init__(f"{code}: {detail}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id


@contextmanager
def transport_errors() -> Iterator[None]:
    """Raise httpx's errors, such as a refused connection or a timeout, as ours."""
    try:
        yield
    except httpx.HTTPError as error:
        raise FovealError(
            0, "no_answer", f"{error.request.url} did not answer: {error or type(error).__name__}"
        ) from error


def error_of(response: httpx.Response) -> FovealError:
    """Return the error that a response, whose body has been read, stands for."""
    request_id = response.headers.get("X-Request-Id", "")
    try:
        problem = response.json()
        return FovealError(response.status_code, problem["code"], problem["detail"], request_id)
    except (ValueError, KeyError, TypeError):
        detail = f"{response.url} answered {response.status_code} {response.reason_phrase}"
        return FovealError(response.status_code, "not_foveal", detail, request_id)


def wait_of(response: httpx.Response, attempt: int, tries: int) -> float | None:
    """Return the seconds after which to try again, None where that is of no use.

    Args:
        response: to the last attempt.
        attempt: its number, from 1.
        tries: the most attempts.
    """
    if response.status_code not in {429, 503} or attempt >= tries:
        return None
    try:
        seconds = float(response.headers["Retry-After"]) * attempt
    except (KeyError, ValueError):
        return None
    return seconds if 0 <= seconds <= LONGEST_WAIT_SECONDS else None
