"""The search is tested on networks that count seconds by a clock of their own."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.runtime.tuning import (
    FOR_MANY_IMAGES,
    FOR_REQUESTS,
    BatchSearch,
    best_batch,
    seconds_of,
    serves_all_at_once,
)

BLANK = np.zeros(1, np.float32)


class Clock:
    """A network whose batch of n takes `cost(n)` seconds by a clock of its own."""

    def __init__(self, cost: Any) -> None:
        self.now = 64.0
        self.cost = cost
        self.sizes: list[int] = []

    def run(self, batch: NDArray[Any]) -> None:
        self.sizes.append(len(batch))
        self.now += self.cost(len(batch))

    def seconds(self) -> float:
        return self.now


def largest(cost: Any, limit: int = 32, search: BatchSearch = FOR_REQUESTS) -> int:
    clock = Clock(cost)
    return best_batch(clock.run, BLANK, limit, alone=cost(1), clock=clock.seconds, search=search)


def test_a_tiny_network_takes_large_batches() -> None:
    assert largest(lambda n: 60e-6 + 10e-6 * n) == 32
    assert largest(lambda n: 60e-6 + 10e-6 * n, limit=12) == 8


def test_a_network_that_loses_its_cache_takes_small_ones() -> None:
    assert largest(lambda n: 0.002 * n if n <= 4 else 0.003 * n) == 4
    assert largest(lambda n: 0.002 * n * (1 + n / 10)) == 1


def test_no_image_waits_long_for_the_others_of_its_batch() -> None:
    assert largest(lambda n: 0.5 * n) == 1
    assert largest(lambda n: 0.01 * n) == 2
    assert largest(lambda n: 0.016 + 0.008 * n) == 8, "0.08 s, and 0.144 s would be too long"


def test_a_batch_of_more_than_a_fortieth_of_a_second_must_cost_less_an_image() -> None:
    assert largest(lambda n: 0.02 * n if n == 1 else 0.0198 * n) == 1
    assert largest(lambda n: 0.02 * n if n == 1 else 0.0196 * n) == 2
    assert largest(lambda n: 0.06 * n if n == 1 else 0.03 * n) == 1, (
        "a batch of 0.12 s is not tried"
    )


def test_where_nobody_waits_a_batch_may_be_long_but_costs_hardly_more_an_image() -> None:
    def cost_from(size: int, factor: float) -> Any:
        return lambda n: 0.011 * n * (factor if n >= size else 1.0)

    assert largest(cost_from(8, 1.0), search=FOR_MANY_IMAGES) == 8, "16 would take 0.176 s"
    assert largest(cost_from(4, 1.009), search=FOR_MANY_IMAGES) == 8
    assert largest(cost_from(4, 1.011), search=FOR_MANY_IMAGES) == 2
    assert largest(cost_from(4, 1.0)) == 2, "somebody waits"


def test_where_nobody_waits_for_the_start_a_long_batch_is_timed_again() -> None:
    clock = Clock(lambda n: 0.011 * n)
    best_batch(clock.run, BLANK, 8, alone=0.011, clock=clock.seconds, search=FOR_MANY_IMAGES)
    assert clock.sizes == [2] * 4 + [4] * 4 + [8] * 4


def test_a_slow_network_is_timed_once() -> None:
    clock = Clock(lambda _: 1.0)
    assert seconds_of(clock.run, BLANK[None], clock.seconds) == 1.0
    assert clock.sizes == [1]


def test_the_least_of_several_timings_counts() -> None:
    costs = iter([0.01, 0.004, 0.01])
    clock = Clock(lambda _: next(costs))
    assert seconds_of(clock.run, BLANK[None], clock.seconds) == pytest.approx(0.004)


def test_a_heavy_network_takes_all_threads_for_one_run() -> None:
    assert serves_all_at_once(alone=0.5, spread=0.27, threads=2)
    assert serves_all_at_once(alone=0.5, spread=0.6, threads=2), "a busy machine changes nothing"
    assert not serves_all_at_once(alone=0.05, spread=0.02, threads=2)


def test_on_many_threads_the_measurement_decides_whether_a_heavy_network_spreads() -> None:
    assert serves_all_at_once(alone=0.5, spread=0.5 / 15, threads=16)
    assert not serves_all_at_once(alone=0.5, spread=0.5 / 8, threads=16)


def test_a_fast_network_is_timed_three_times_and_a_slower_one_until_three_hundredths_of_a_second_are_over() -> (
    None
):
    for seconds, times in ((0.001, 3), (0.014, 3), (0.016, 2), (0.029, 2), (0.031, 1)):
        clock = Clock(lambda _, seconds=seconds: seconds)
        assert seconds_of(clock.run, BLANK[None], clock.seconds) == pytest.approx(seconds)
        assert len(clock.sizes) == times, seconds


def test_the_cost_of_an_image_in_the_best_batch_so_far_decides_what_is_tried() -> None:
    assert largest(lambda n: 0.006 if n == 1 else 0.003 * n) == 8


def test_a_batch_of_exactly_the_longest_time_and_of_exactly_the_limit_is_tried() -> None:
    assert largest(lambda n: 0.05 if n == 1 else 0.04 * n) == 2
    assert largest(lambda n: 1e-4 * n, limit=8) == 8


def test_a_batch_may_cost_two_percent_more_an_image_and_no_more() -> None:
    assert largest(lambda n: 1e-4 * n if n == 1 else 1.019e-4 * n, limit=4) == 4
    assert largest(lambda n: 1e-4 * n if n == 1 else 1.021e-4 * n, limit=4) == 1


def test_each_size_runs_once_before_it_is_timed() -> None:
    clock = Clock(lambda n: 1e-4 * n)
    best_batch(clock.run, BLANK, 4, alone=1e-4, clock=clock.seconds)
    assert clock.sizes == [2] * 4 + [4] * 4


def test_a_heavy_network_takes_more_than_a_tenth_of_a_second_an_image() -> None:
    assert not serves_all_at_once(alone=0.1, spread=0.02, threads=2)
    assert serves_all_at_once(alone=0.11, spread=0.2, threads=4), "four threads are few"
    assert not serves_all_at_once(alone=0.11, spread=0.2, threads=5)


def test_on_many_threads_a_heavy_network_may_lose_fifteen_percent() -> None:
    assert serves_all_at_once(alone=1.0, spread=1.14 / 8, threads=8)
    assert not serves_all_at_once(alone=1.0, spread=1.16 / 8, threads=8)
