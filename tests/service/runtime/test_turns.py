"""The shares of the workers' time, in lanes that a test keeps busy by a clock of its own."""

from dataclasses import dataclass

import pytest

from service.runtime.turns import HOLD_SECONDS, Seat, Turns


@dataclass
class Flood:
    """A lane that always has a batch, each of which takes `seconds`."""

    seconds: float
    cores: int = 1
    used: float = 0.0

    def __post_init__(self) -> None:
        self.seat: Seat[str] = Seat("lane", self.cores)


class OneWorker:
    """Runs the batches of whichever lane comes first, one after the other."""

    def __init__(self) -> None:
        self.turns: Turns[str] = Turns()
        self.now = 0.0

    def run(self, *lanes: Flood) -> Flood:
        lane = min(lanes, key=lambda one: self.turns.start_of(one.seat))
        turn = self.turns.begin(lane.seat, self.now, low_priority=False, since=self.now)
        self.now += lane.seconds
        lane.used += lane.seconds
        self.turns.settle(turn, self.now)
        return lane


@pytest.mark.parametrize("other", [0.001, 0.1, 0.4, 7.0])
def test_two_floods_share_the_time_whatever_their_batches_take(other: float) -> None:
    worker, flood, second = OneWorker(), Flood(0.4), Flood(other)
    while worker.now < 100:
        worker.run(flood, second)
    assert abs(flood.used - second.used) <= 2 * max(flood.seconds, other)


def test_three_floods_get_a_third_each() -> None:
    worker, floods = OneWorker(), [Flood(0.4), Flood(0.1), Flood(0.003)]
    while worker.now < 90:
        worker.run(*floods)
    assert all(abs(one.used - 30) < 1 for one in floods)


def test_a_lane_whose_batches_occupy_all_cores_gets_its_share_of_cores() -> None:
    worker, wide, narrow = OneWorker(), Flood(0.4, cores=4), Flood(0.1)
    while worker.now < 100:
        worker.run(wide, narrow)
    assert 4 * wide.used == pytest.approx(narrow.used, abs=4)


def test_what_comes_to_an_idle_lane_waits_for_one_batch_of_a_flood() -> None:
    worker, flood, rare = OneWorker(), Flood(0.4), Flood(0.01)
    for _ in range(50):
        worker.run(flood)
        assert worker.run(flood, rare) is rare


def test_a_lane_that_was_idle_has_saved_nothing_up() -> None:
    worker, flood, late = OneWorker(), Flood(0.1), Flood(0.1)
    for _ in range(1000):
        worker.run(flood)
    order = [worker.run(flood, late) for _ in range(20)]
    assert order.count(late) in {10, 11}


def test_a_batch_that_was_given_up_is_not_paid_by_those_behind_it() -> None:
    turns: Turns[str] = Turns()
    seat = Seat("lane")
    turn = turns.begin(seat, 0.0, low_priority=False, since=0.0)
    turn.given_up = True
    turns.settle(turn, 1000.0)
    assert turns.start_of(seat) == 0


def few_clients(turns: Turns[str], gap: float, batches: int = 50) -> Seat[str]:
    """Return a lane whose next image comes so long after its last answer; its last batch has ended at 100."""
    seat, now = Seat("few"), 100 - batches * (0.001 + gap) - 0.001
    for _ in range(batches + 1):
        turn = turns.begin(seat, now, low_priority=False, since=now)
        now += 0.001
        turns.settle(turn, now)
        now += gap
    return seat


def flood_beside(turns: Turns[str], seconds: float) -> Seat[str]:
    """Return a lane that has used more than the others, by batches that take so long."""
    seat: Seat[str] = Seat("flood")
    for _ in range(50):
        turns.settle(turns.begin(seat, 0.0, low_priority=False, since=0.0), seconds)
    return seat


@pytest.mark.parametrize(
    ("gap", "seconds", "until"),
    [
        (0.002, 0.4, 100 + HOLD_SECONDS),
        (0.002, 0.004, 100.004),  # no longer than the batch itself would take
        (0.2, 0.4, 100.0),  # what comes rarely is not waited for
        (0.006, 0.004, 100.0),
    ],
)
def test_a_long_batch_waits_for_a_lane_that_is_owed_time_and_used_all_the_time(
    gap: float, seconds: float, until: float
) -> None:
    turns: Turns[str] = Turns()
    few = few_clients(turns, gap)
    few.spent, flood = 0.0, flood_beside(turns, seconds)
    turns = Turns()
    now = 100.0
    held = turns.held_until(flood, [few, flood], now)
    assert held == pytest.approx(until, abs=1e-6)


def test_nothing_waits_for_a_lane_that_has_used_its_share() -> None:
    turns: Turns[str] = Turns()
    few, flood = few_clients(turns, 0.001), flood_beside(turns, 0.4)
    few.spent = flood.spent + 1
    assert turns.held_until(flood, [few, flood], 100.0) == 100
