"""The deadline counts from the request's head."""

import time

import pytest
from fastapi import Request

from service.api.deadline import time_left
from service.api.deps import RequestRecord


def request(timeout_ms: str | None = None) -> Request:
    headers = [] if timeout_ms is None else [(b"x-timeout-ms", timeout_ms.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("timeout_ms", "passed", "left"),
    [(None, 0, 30), (None, 10, 20), ("60000", 10, 50), ("4000", 10, 0), (None, 31, 0)],
)
def test_what_the_body_took_is_gone_from_the_answers_time(
    timeout_ms: str | None, passed: float, left: float
) -> None:
    record = RequestRecord("id", began=time.perf_counter() - passed)
    assert time_left(request(timeout_ms), record, 30) == pytest.approx(left, abs=1)
