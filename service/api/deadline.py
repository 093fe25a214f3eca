"""A request's deadline, which counts from its head: what the body takes is gone from the answer's time."""

import time

from fastapi import Request

from service.api.deps import RequestRecord, header_of
from service.errors import InvalidParameterError

TIMEOUT_HEADER = "X-Timeout-Ms"
_TIMEOUT = TIMEOUT_HEADER.lower().encode()
LONGEST_TIMEOUT_MS = 3_600_000.0


def time_left(request: Request, record: RequestRecord, default_seconds: float) -> float:
    """Return the seconds until the request's deadline, 0 behind it.

    Raises:
        InvalidParameterError: it brings a deadline that is no number of milliseconds within range.
    """
    passed = time.perf_counter() - record.began
    return max(0.0, requested_timeout(request, default_seconds) - passed)


def requested_timeout(request: Request, default_seconds: float) -> float:
    """Return the deadline in seconds that the request brings, else the default.

    Raises:
        InvalidParameterError: it is no number of milliseconds within range.
    """
    seconds = given_timeout(request)
    return default_seconds if seconds is None else seconds


def given_timeout(request: Request) -> float | None:
    """Return the deadline in seconds that the request brings, None where it brings none.

    Raises:
        InvalidParameterError: it is no number of milliseconds within range.
    """
    given = header_of(request, _TIMEOUT)
    if given is None:
        return None
    try:
        timeout_ms = float(given)
    except ValueError:
        timeout_ms = 0.0
    if not 0 < timeout_ms <= LONGEST_TIMEOUT_MS:
        raise InvalidParameterError(
            f"{TIMEOUT_HEADER}: a number of milliseconds above 0 and up to {LONGEST_TIMEOUT_MS:.0f}, not {given!r}"
        )
    return timeout_ms / 1e3
