"""The pace of a run, by a clock that the test moves."""

import pytest

from service.bulk.progress import QUIET_SECONDS, RATE_SECONDS, Lines, Pace, duration


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_half_minute_and_of_new_images_only() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.total = 2000
    assert (pace.per_second, pace.seconds_left) == (0, None)

    for _ in range(10):
        clock.now += 1
        pace.advance(100, 1, done_before=500)
    assert pace.per_second == pytest.approx(100)
    assert (pace.done, pace.new, pace.failed) == (1500, 1000, 10)
    assert pace.seconds_left == pytest.approx(5)

    for _ in range(int(RATE_SECONDS) + 2):
        clock.now += 1
        pace.advance(10, 0, done_before=500)
    assert pace.per_second == pytest.approx(10)
    assert pace.seconds_left == pytest.approx((2000 - pace.done) / 10)
    assert pace.overall == pytest.approx(pace.new / clock.now)


def test_without_a_terminal_a_line_comes_from_time_to_time() -> None:
    clock = Clock()
    written: list[str] = []
    pace, lines = Pace(clock), Lines(written.append, clock)
    for _ in range(25):
        clock.now += 1
        pace.advance(2, 0)
        lines.update(pace)

    assert written == ["20 images, 2.0 images/s", "40 images, 2.0 images/s"]
    assert QUIET_SECONDS == 10
    pace.total = 90
    clock.now += QUIET_SECONDS - 5
    pace.advance(10, 1)
    lines.update(pace)
    assert written[-1] == "60 of 90 images, 2.0 images/s, 15 s left, 1 failed"


def test_times_are_written_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 200, 7500)] == [
        "0 s",
        "59 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
