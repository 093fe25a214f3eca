"""Half of the time for single images, counted batch by batch."""

import pytest

from service.runtime.halves import Halves


def run(halves: Halves, seconds: float, *, low_priority: bool, expected: float = 0.1) -> None:
    halves.begin(expected, low_priority=low_priority)
    halves.settle(seconds - expected, low_priority=low_priority)


@pytest.mark.parametrize("low_seconds", [0.01, 0.3, 4.0])
def test_low_priority_has_half_of_the_time_whatever_its_batches_take(low_seconds: float) -> None:
    halves, single, low = Halves(), 0.0, 0.0
    while single + low < 100:
        if halves.low_priority_yields:
            run(halves, 0.3, low_priority=False)
            single += 0.3
        else:
            run(halves, low_seconds, low_priority=True)
            low += low_seconds
    assert single == pytest.approx(low, abs=2 * max(0.3, low_seconds))


def test_single_images_that_come_after_an_hour_without_any_save_nothing_up() -> None:
    halves = Halves()
    for _ in range(3600):
        run(halves, 1.0, low_priority=True)
    assert halves.low_priority_yields
    run(halves, 1.0, low_priority=False)
    run(halves, 1.0, low_priority=False)
    assert not halves.low_priority_yields, "a batch or two, not an hour"


def test_low_priority_that_comes_after_an_hour_without_any_saves_nothing_up() -> None:
    halves = Halves()
    for _ in range(3600):
        run(halves, 1.0, low_priority=False)
    for _ in range(3):
        run(halves, 1.0, low_priority=True)
    assert halves.low_priority_yields
