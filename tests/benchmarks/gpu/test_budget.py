"""The seconds of a run, with a clock that the test moves."""

import pytest

from benchmarks.gpu.budget import Budget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_step_gets_its_share_by_weight_without_the_time_for_the_report() -> None:
    budget = Budget(200, Clock())  # of which 5 % are for the report

    assert budget.limit([1, 1, 2]) == pytest.approx(190 / 4)
    assert budget.limit([2, 1, 1]) == pytest.approx(190 / 2)


def test_what_a_step_does_not_use_goes_to_those_that_follow() -> None:
    clock = Clock()
    budget = Budget(200, clock)
    clock.now += 10

    assert budget.limit([1, 1]) == pytest.approx(180 / 2)
    assert budget.limit([1]) == pytest.approx(180)


def test_steps_that_use_all_their_time_end_before_the_run_must() -> None:
    clock = Clock()
    budget = Budget(60, clock)
    weights = [3.0, 8.0, 1.0, 5.0]
    while weights:
        clock.now += budget.limit(weights)
        weights.pop(0)

    assert clock.now == pytest.approx(100 + 57)
    assert budget.left() == pytest.approx(3)


def test_a_long_run_keeps_fifteen_seconds_for_the_report() -> None:
    assert Budget(900, Clock()).limit([1]) == pytest.approx(885)


def test_when_the_time_is_over_nothing_is_left() -> None:
    clock = Clock()
    budget = Budget(10, clock)
    clock.now += 11

    assert (budget.left(), budget.limit([1, 1])) == (0, 0)
