"""The shares of the workers' time, in lanes that a test keeps busy by a clock of its own."""

from dataclasses import dataclass

import pytest

from service.runtime.turns import Seat, Turns


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
        turn = self.turns.begin(lane.seat, self.now, low_priority=False)
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
    turn = turns.begin(seat, 0.0, low_priority=False)
    turn.given_up = True
    turns.settle(turn, 1000.0)
    assert turns.start_of(seat) == 0
