"""How a connection ends, by a transport that only notes what is done to it."""

from typing import Any, cast

import pytest

from service.processes.transport import (
    LEAST_WRITTEN,
    LINGER_BYTES,
    LINGER_SECONDS,
    PatientTransport,
)
from tests.service.api.clock import Timer


class Raw:
    """A transport."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.unwritten = 0

    def write(self, data: bytes) -> None:
        self.done.append(f"write {data!r}")

    def write_eof(self) -> None:
        self.done.append("eof")

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else None

    def setsockopt(self, *_: object) -> None:
        self.done.append("reset")

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")


class Loop(Timer):
    """An event loop whose time the test moves."""

    def call_later(self, seconds: float, call: Any) -> Any:
        return self(seconds, call)


def patient(raw: Raw, loop: Loop, *, still_sends: bool) -> PatientTransport:
    return PatientTransport(
        cast("Any", raw), cast("Any", loop), write_seconds=30, still_sends=lambda: still_sends
    )


def test_a_client_that_sends_no_more_is_closed_at_once() -> None:
    raw = Raw()
    patient(raw, Loop(), still_sends=False).close()
    assert raw.done == ["close"]


def test_one_that_still_sends_is_read_for_a_while_and_then_closed() -> None:
    raw, loop = Raw(), Loop()
    one = patient(raw, loop, still_sends=True)
    one.close()
    one.close()
    assert raw.done == ["eof", "resume"]
    assert one.is_closing()
    loop.advance(LINGER_SECONDS - 0.1)
    assert raw.done == ["eof", "resume"]
    loop.advance(0.1)
    assert raw.done == ["eof", "resume", "close"]


@pytest.mark.parametrize(("size", "closed"), [(LINGER_BYTES, False), (LINGER_BYTES + 1, True)])
def test_so_much_is_dropped_and_not_a_byte_more(size: int, closed: bool) -> None:  # noqa: FBT001
    raw = Raw()
    one = patient(raw, Loop(), still_sends=True)
    one.close()
    one.drop(size - 5)
    one.drop(5)
    assert ("close" in raw.done) == closed


@pytest.mark.parametrize(("read", "given_up"), [(LEAST_WRITTEN - 1, True), (LEAST_WRITTEN, False)])
def test_a_client_must_read_so_much_in_its_time(read: int, given_up: bool) -> None:  # noqa: FBT001
    raw, loop = Raw(), Loop()
    raw.unwritten = 10 * LEAST_WRITTEN
    one = patient(raw, loop, still_sends=False)
    one.watch_writing()
    raw.unwritten -= read
    loop.advance(29.9)
    assert raw.done == []
    loop.advance(0.1)
    assert raw.done == (["reset", "abort"] if given_up else [])
    one.write(b"more")
    assert ("write b'more'" in raw.done) != given_up


def test_a_client_that_has_read_everything_has_time_again() -> None:
    raw, loop = Raw(), Loop()
    raw.unwritten = LEAST_WRITTEN
    one = patient(raw, loop, still_sends=False)
    one.watch_writing()
    one.was_read()
    loop.advance(100)
    assert raw.done == []


def test_a_closed_connection_that_is_not_read_is_given_up() -> None:
    raw, loop = Raw(), Loop()
    raw.unwritten = 100
    one = patient(raw, loop, still_sends=False)
    one.close()
    one.was_read()
    loop.advance(30)
    assert raw.done == ["close", "reset", "abort"]


def test_nothing_is_done_to_a_connection_that_is_lost() -> None:
    raw, loop = Raw(), Loop()
    raw.unwritten = 100
    one = patient(raw, loop, still_sends=True)
    one.close()
    one.lost()
    done = list(raw.done)
    loop.advance(100)
    assert raw.done == done
