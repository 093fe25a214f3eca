"""The record of a request: its deadline, what it holds until its response, and its stages."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import Request

from service.api.record import (
    RequestRecord,
    announced_bytes,
    find_header,
    find_single_header,
    header_of,
    list_header_of,
)
from service.errors import InvalidParameterError
from service.runtime.job import Trace
from tests.service.api.clock import Clock


class CountedHeaders(list[tuple[bytes, bytes]]):
    """Counts how often the headers are searched."""

    searches = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        self.searches += 1
        return super().__iter__()


def test_the_deadline_is_the_clients_else_the_services() -> None:
    stated = RequestRecord("id", [(b"x-timeout-ms", b"250")], timeout_seconds=30).deadline
    default = RequestRecord("id", [(b"accept", b"*/*")], timeout_seconds=20).deadline
    assert (stated.allowed_seconds, stated.requested) == (0.25, True)
    assert (default.allowed_seconds, default.requested) == (20, False)


def test_the_deadline_is_parsed_once_and_counts_from_the_head() -> None:
    clock = Clock()
    headers = CountedHeaders([(b"x-timeout-ms", b"5000")])
    record = RequestRecord("id", headers, clock=clock)
    clock.now += 2
    assert headers.searches == 0
    assert record.deadline.left() == 3
    assert record.deadline is record.deadline
    assert headers.searches == 1
    assert record.elapsed_seconds() == 2


def test_a_deadline_that_is_not_valid_is_an_error_where_it_is_first_needed() -> None:
    record = RequestRecord("id", [(b"x-timeout-ms", b"soon")])
    for _ in range(2):
        with pytest.raises(InvalidParameterError, match="'soon'"):
            _ = record.deadline


def test_what_is_held_is_released_once_the_last_first() -> None:
    events: list[str] = []

    @contextmanager
    def resource(name: str) -> Iterator[None]:
        events.append(f"+{name}")
        yield
        events.append(f"-{name}")

    record = RequestRecord("id")
    record.release()
    record.release_with_response(resource("a"))
    record.release_with_response(resource("b"))
    assert events == ["+a", "+b"]
    record.release()
    record.release()
    assert events == ["+a", "+b", "-b", "-a"]
    record.release_with_response(resource("c"))
    record.release()
    assert events[4:] == ["+c", "-c"]


def test_stages_are_in_milliseconds_and_of_several_images_the_longest() -> None:
    record = RequestRecord("id")
    assert (record.stage_ms(), record.batch_size) == ({}, 0)
    record.traces = [Trace(decode=0.001, queue=0.002, infer=0.003, head=0.004, batch_size=3)]
    assert record.stage_ms() == {"decode": 1, "queue": 2, "infer": 3, "head": 4}
    record.traces.append(Trace(decode=0.005, queue=0.001, infer=0.002, head=0.001, batch_size=2))
    assert record.stage_ms() == {"decode": 5, "queue": 2, "infer": 3, "head": 4}
    assert record.batch_size == 3


def test_the_timing_header_states_each_stage_and_the_total_in_milliseconds() -> None:
    now = iter((5.0, 5.0125, 5.0125))
    record = RequestRecord("id", clock=lambda: next(now))
    assert record.server_timing(record.stage_ms()) == b"total;dur=12.50"
    record.traces = [Trace(decode=0.001, queue=0.00255, infer=0.003, head=0, batch_size=3)]
    assert record.server_timing(record.stage_ms()) == (
        b"decode;dur=1.00, queue;dur=2.55, infer;dur=3.00, head;dur=0.00, total;dur=12.50, batch;desc=3"
    )


def test_the_first_header_of_a_name_counts() -> None:
    headers = [(b"a", b"1"), (b"b", b"\xe9"), (b"b", b"3")]
    assert find_header(headers, b"b") == "é"
    assert find_header(headers, b"c") is None
    assert header_of(Request({"type": "http", "headers": headers}), b"a") == "1"


def test_a_header_with_one_meaning_is_refused_where_it_is_there_again() -> None:
    headers = [(b"a", b"1"), (b"x-timeout-ms", b"\xe9"), (b"x-timeout-ms", b"\xe9")]
    assert find_single_header(headers, b"a") == "1"
    assert find_single_header(headers, b"b") is None
    with pytest.raises(InvalidParameterError, match="X-Timeout-Ms is there more than once"):
        find_single_header(headers, b"x-timeout-ms")


def test_a_list_may_be_in_several_headers() -> None:
    headers = [(b"accept", b"text/html"), (b"a", b"1"), (b"accept", b"image/png;q=0.1, */*")]
    request = Request({"type": "http", "headers": headers})
    assert list_header_of(request, b"accept") == "text/html, image/png;q=0.1, */*"
    assert list_header_of(request, b"b") == ""


@pytest.mark.parametrize(
    ("value", "size"), [(None, None), (b"", None), (b"12", 12), (b"0", 0), (b"-1", None)]
)
def test_the_announced_size_is_a_number_or_unknown(value: bytes | None, size: int | None) -> None:
    headers = [] if value is None else [(b"content-length", value)]
    assert announced_bytes(Request({"type": "http", "headers": headers})) == size
