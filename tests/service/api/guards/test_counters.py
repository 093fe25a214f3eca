"""Counters of rate limits: windows that slide, by a clock that the test moves."""

import pytest

from service.api.guards.counters import Counters, whole_seconds
from tests.service.api.clock import Clock

LIMIT, EXPIRY = 10, 60


def at(seconds: float) -> tuple[Counters, Clock]:
    """Return counters at a time behind the begin of a window."""
    clock = Clock(EXPIRY * 100 + seconds)
    return Counters(clock), clock


def hits(counters: Counters, key: str = "a", limit: int = LIMIT) -> int:
    """Return how many are allowed until one is refused."""
    allowed = 0
    while counters.acquire_sliding_window_entry(key, limit, EXPIRY):
        allowed += 1
    return allowed


def test_so_many_are_allowed_in_a_window_and_each_key_has_its_own() -> None:
    counters, _ = at(0)
    assert hits(counters) == LIMIT
    assert hits(counters, "b") == LIMIT
    assert counters.get("a") == LIMIT
    assert not counters.acquire_sliding_window_entry("a", LIMIT, EXPIRY)


def test_an_amount_counts_as_so_many_and_is_taken_whole_or_not() -> None:
    counters, _ = at(0)
    assert counters.acquire_sliding_window_entry("a", LIMIT, EXPIRY, 7)
    assert not counters.acquire_sliding_window_entry("a", LIMIT, EXPIRY, 4)
    assert counters.acquire_sliding_window_entry("a", LIMIT, EXPIRY, 3)
    assert counters.get("a") == 10


@pytest.mark.parametrize(
    ("later", "allowed"),
    # Ten in the window before weigh as the part of it that a window ending now covers, rounded down.
    [(59.9, 0), (60, 0), (66, 1), (66.1, 2), (90, 5), (114, 9), (119.9, 10), (120, 10), (600, 10)],
)
def test_the_window_before_weighs_less_and_less(later: float, allowed: int) -> None:
    counters, clock = at(0)
    hits(counters)
    clock.now += later
    assert hits(counters) == allowed


def test_a_window_says_what_it_holds_and_how_long() -> None:
    counters, clock = at(0)
    counters.incr("a", EXPIRY, 4)
    clock.now += 75
    counters.incr("a", EXPIRY)
    assert counters.get_sliding_window("a", EXPIRY) == (4, 45.0, 1, 105.0)
    clock.now += 60
    assert counters.get_sliding_window("a", EXPIRY) == (1, 45.0, 0, 105.0)


@pytest.mark.parametrize("limit", [1, 3, 10])
@pytest.mark.parametrize("begun", [0, 13, 59])
@pytest.mark.parametrize("more", [0, 7, 61, 90])
def test_a_client_that_waits_as_long_as_is_said_is_allowed_and_not_before(
    limit: int, begun: int, more: int
) -> None:
    counters, clock = at(begun)
    hits(counters, limit=limit)
    clock.now += more
    hits(counters, limit=limit)
    seconds = counters.seconds_until_free("a", limit, EXPIRY)
    assert 0 <= seconds <= 2 * EXPIRY
    clock.now += seconds - 0.01
    assert not counters.acquire_sliding_window_entry("a", limit, EXPIRY)
    clock.now += 0.02
    assert counters.acquire_sliding_window_entry("a", limit, EXPIRY)


def test_where_there_is_room_there_is_nothing_to_wait_for() -> None:
    counters, _ = at(0)
    assert counters.seconds_until_free("a", 1, EXPIRY) == 0
    assert counters.acquire_sliding_window_entry("a", 2, EXPIRY)
    assert counters.seconds_until_free("a", 2, EXPIRY) == 0


def test_only_so_many_are_kept_and_the_one_hit_longest_ago_is_forgotten() -> None:
    counters = Counters(Clock(), most=2)
    for key in ("a", "b", "a", "c"):
        assert counters.acquire_sliding_window_entry(key, LIMIT, EXPIRY)
    assert [counters.get(key) for key in ("a", "b", "c")] == [2, 0, 1]
    counters.clear_sliding_window("a", EXPIRY)
    assert counters.get("a") == 0
    assert counters.reset() == 1
    assert counters.get("c") == 0


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, 1), (0.2, 1), (0.999, 1), (1.0, 2), (59.5, 60)]
)
def test_retry_after_is_never_too_early(seconds: float, header: int) -> None:
    assert whole_seconds(seconds) == header
