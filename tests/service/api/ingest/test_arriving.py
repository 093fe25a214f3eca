"""What bodies that arrive hold in sum, and which of them give way above the limit."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from service.api.ingest.arriving import ArrivingBodies, ArrivingBody
from service.errors import OverloadedError
from tests.service.api.clock import Clock

Begin = Callable[[ArrivingBodies], ArrivingBody]


@pytest.fixture
def begun() -> Iterator[Begin]:
    """Begins bodies that are counted until the test ends."""
    with ExitStack() as stack:
        yield lambda bodies: stack.enter_context(bodies.counted())


def test_the_bytes_of_all_bodies_are_counted_until_each_ends() -> None:
    bodies = ArrivingBodies(100)
    with bodies.counted() as first:
        first.add(10)
        with bodies.counted() as second:
            second.add(20)
            first.add(5)
            assert (bodies.bytes, first.size, second.size) == (35, 15, 20)
        assert bodies.bytes == 15
    assert bodies.bytes == 0


def test_a_body_that_ends_with_an_error_is_not_counted_either() -> None:
    bodies = ArrivingBodies(100)

    def arrive() -> None:
        with bodies.counted() as body:
            body.add(10)
            raise body.error()

    with pytest.raises(OverloadedError):
        arrive()
    assert bodies.bytes == 0


@pytest.mark.parametrize(("last", "gave_way"), [(50, False), (51, True)])
def test_the_limit_is_allowed_and_not_one_byte_more(
    begun: Begin, last: int, *, gave_way: bool
) -> None:
    clock = Clock()
    bodies = ArrivingBodies(100, clock)
    first, second = begun(bodies), begun(bodies)
    first.add(50)
    clock.now += 1
    second.add(last)
    assert (first.gave_way, second.gave_way) == (False, gave_way)


@pytest.mark.parametrize(
    ("first", "second", "seconds", "which"),
    [(40, 60, 0, "second"), (40, 60, 3, "first"), (10, 90, 3, "second")],
)
def test_the_one_that_has_cost_most_gives_way(
    begun: Begin, first: int, second: int, seconds: float, which: str
) -> None:
    # Its bytes times its seconds: at 4 s, the first of 40 bytes costs 160, the second that began at 3 s costs 60.
    clock = Clock()
    bodies = ArrivingBodies(100, clock)
    one = begun(bodies)
    one.add(first)
    clock.now += seconds
    other = begun(bodies)
    other.add(second)
    clock.now += 1
    other.add(1)
    assert {"first": one.gave_way, "second": other.gave_way} == {
        "first": which == "first",
        "second": which == "second",
    }


def test_the_cost_is_bytes_times_seconds_since_it_began(begun: Begin) -> None:
    clock = Clock(10)
    bodies = ArrivingBodies(100, clock)
    body = begun(bodies)
    body.add(6)
    clock.now = 12.5
    assert body.cost(clock.now) == 15
    assert body.cost(10) == 0


# 7/8 of 80 are 70.
@pytest.mark.parametrize(("left", "ways"), [(70, 1), (71, 2)])
def test_bodies_give_way_until_an_eighth_of_the_limit_is_free(
    begun: Begin, left: int, ways: int
) -> None:
    clock = Clock()
    bodies = ArrivingBodies(80, clock)
    costly, cheap = begun(bodies), begun(bodies)
    costly.add(80 - left)
    clock.now += 1000
    third = begun(bodies)
    cheap.add(1)
    third.add(left - 1)
    assert not costly.gave_way
    costly.add(1)
    assert [costly.gave_way, cheap.gave_way, third.gave_way].count(True) == ways
    assert bodies.bytes == left if ways == 1 else bodies.bytes <= 70


def test_a_body_that_gave_way_is_told_once_and_counts_no_more(begun: Begin) -> None:
    clock = Clock()
    bodies = ArrivingBodies(100, clock)
    calls = []
    body = begun(bodies)
    body.on_give_way = lambda: calls.append(bodies.bytes)
    clock.now += 1
    body.add(101)
    assert (body.gave_way, calls, bodies.bytes) == (True, [0], 0)
    body.add(500)
    assert (calls, bodies.bytes, body.size) == ([0], 0, 101)


def test_a_body_that_has_ended_is_not_called() -> None:
    bodies = ArrivingBodies(100)
    calls: list[str] = []
    with bodies.counted() as body:
        body.on_give_way = lambda: calls.append("ended")
    body.give_way()
    assert calls == []
    assert body.on_give_way is None


def test_a_body_that_gave_way_and_ends_is_not_taken_off_twice() -> None:
    bodies = ArrivingBodies(10)
    with bodies.counted() as other, bodies.counted() as body:
        other.add(1)
        body.add(10)
        assert bodies.bytes == 0 if other.gave_way else bodies.bytes == 1
    assert bodies.bytes == 0


def test_the_error_names_the_limit_and_what_to_do() -> None:
    with ArrivingBodies(3 << 19).counted() as body:
        error = body.error()
    assert "hold 1.5 MiB together" in str(error)
    assert str(error).endswith("Send it again, and faster.")
    assert error.status == 503
