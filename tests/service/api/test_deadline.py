"""One deadline for a request, counted from its head."""

import asyncio

import pytest

from service.api.deadline import LONGEST_TIMEOUT_MS, Deadline, parse_timeout
from service.errors import DeadlineError, InvalidParameterError
from tests.service.api.clock import Clock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("passed", "left"), [(0, 30), (10, 20), (30, 0), (31, 0)])
def test_the_time_left_counts_from_the_head_and_is_never_negative(
    passed: float, left: float
) -> None:
    clock = Clock()
    deadline = Deadline(30, began=clock(), clock=clock)
    clock.now += passed
    assert deadline.left() == left


def test_errors_state_what_the_request_allowed_and_not_what_is_left_of_it() -> None:
    clock = Clock()
    deadline = Deadline(5, began=clock(), clock=clock)
    clock.now += 4.9
    assert str(deadline.body_late()).startswith("The body did not arrive within 5000 ms. ")
    assert "X-Timeout-Ms" in str(deadline.body_late())
    assert str(deadline.answer_late()) == "The answer was not ready within 5000 ms."


def test_time_is_required_until_the_deadline() -> None:
    clock = Clock()
    deadline = Deadline(5, began=clock(), clock=clock)
    clock.now += 4.9
    deadline.require_time()
    clock.now += 0.1
    with pytest.raises(DeadlineError, match="not ready within 5000 ms"):
        deadline.require_time()


def test_errors_state_a_fraction_of_a_millisecond_and_an_hour_as_they_are() -> None:
    assert "within 0.01 ms" in str(Deadline(0.01 / 1e3, began=0).answer_late())
    assert "within 3600000 ms" in str(Deadline(3600, began=0).answer_late())


async def test_a_block_that_is_too_slow_is_canceled_with_the_error() -> None:
    clock = Clock()
    deadline = Deadline(1, began=clock(), clock=clock)
    clock.now += 1
    with pytest.raises(DeadlineError, match="body did not arrive within 1000 ms"):
        async with deadline.limit(deadline.body_late):
            await asyncio.Event().wait()


async def test_a_block_in_time_is_left_alone() -> None:
    deadline = Deadline(3600, began=Clock()(), clock=Clock())
    async with deadline.limit(deadline.body_late):
        await asyncio.sleep(0)


async def test_a_timeout_of_the_blocks_own_stays_what_it_is() -> None:
    deadline = Deadline(3600, began=Clock()(), clock=Clock())
    with pytest.raises(TimeoutError, match="a socket"):
        async with deadline.limit(deadline.body_late):
            raise TimeoutError("a socket")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 0.001), ("2500.5", 2.5005), (" 5e3 ", 5), (f"{LONGEST_TIMEOUT_MS}", 3600)],
)
def test_milliseconds_become_seconds(text: str, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "nan", "inf", "3600000.1", "1_0"])
def test_what_is_no_number_of_milliseconds_in_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        parse_timeout(text)
    assert "above 0 and up to 3600000" in str(raised.value)
    assert repr(text) in str(raised.value)
