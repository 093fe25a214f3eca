"""Which frames of a clip are taken, by the clock, by number, or evenly over the whole."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.video.sampling import Sampling, wants_of


def taken(sampling: Sampling, times: Sequence[float], *, read: bool = False) -> list[int]:
    """Return the numbers of the frames that are wanted; `times` may be read ahead only where `read`."""
    wants = wants_of(sampling, times if read else ())
    return [number for number, seconds in enumerate(times) if wants(number, seconds)]


def evenly(rate: float, count: int, start: float = 0.0) -> list[float]:
    return [start + number / rate for number in range(count)]


def test_two_a_second_are_taken_from_ten_a_second() -> None:
    assert taken(Sampling(fps=2), evenly(10, 21)) == [0, 5, 10, 15, 20]


@pytest.mark.parametrize("rate", [24, 25, 29.97, 30, 50, 60])
def test_a_sampling_at_the_clips_own_rate_takes_every_frame(rate: float) -> None:
    assert taken(Sampling(fps=rate), evenly(rate, 500)) == list(range(500))


def test_more_a_second_than_there_are_takes_each_once() -> None:
    assert taken(Sampling(fps=100), evenly(10, 30)) == list(range(30))


def test_the_first_frame_is_taken_whenever_it_is_shown() -> None:
    assert taken(Sampling(fps=1), evenly(4, 9, start=-0.5)) == [0, 2, 6]
    assert taken(Sampling(fps=1), evenly(4, 9, start=7.25)) == [0, 3, 7]


def test_a_gap_is_not_made_up_for_by_the_frames_behind_it() -> None:
    assert taken(Sampling(fps=1), [0.0, 0.5, 5.2, 5.4, 5.9, 6.0]) == [0, 2, 5]


def test_a_rounded_time_counts_for_the_period_that_it_stands_for() -> None:
    assert taken(Sampling(fps=1), [0.0, 0.9999995, 1.5, 2.0]) == [0, 1, 3]
    assert taken(Sampling(fps=1), [0.0, 0.999999, 1.5, 2.0]) == [0, 1, 3]
    assert taken(Sampling(fps=1), [0.0, 0.9999985, 1.5, 2.0]) == [0, 2, 3]
    assert taken(Sampling(fps=1), [0.9999985, 1.0]) == [0, 1]


def test_every_third_frame_begins_with_the_first() -> None:
    assert taken(Sampling(every_n=3), evenly(10, 10)) == [0, 3, 6, 9]
    assert taken(Sampling(every_n=1), evenly(10, 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("count", "numbers"),
    [(1, [5]), (2, [2, 7]), (3, [1, 5, 8]), (5, [1, 3, 5, 7, 9]), (9, [0, 1, 2, 3, 5, 6, 7, 8, 9])],
)
def test_a_count_takes_what_is_shown_in_the_middle_of_each_share(
    count: int, numbers: list[int]
) -> None:
    assert taken(Sampling(count=count), evenly(10, 10), read=True) == numbers
    assert taken(Sampling(count=count), evenly(10, 10, start=3.0), read=True) == numbers


def test_the_last_frame_is_shown_as_long_as_the_others_on_average() -> None:
    assert taken(Sampling(count=1), [0.0, 1.0], read=True) == [1]
    assert taken(Sampling(count=2), [0.0, 1.0, 2.0], read=True) == [0, 2]


@pytest.mark.parametrize("count", [4, 5, 1000])
def test_a_count_of_all_or_more_takes_all(count: int) -> None:
    assert taken(Sampling(count=count), [0.0, 1.0, 1.1, 5.0], read=True) == [0, 1, 2, 3]


def test_a_frame_that_is_shown_for_long_is_taken_once() -> None:
    # Frame 1 is on the screen from 1 s to 9 s: in the middles of three of the four shares of 11.64 s.
    assert taken(Sampling(count=4), [0.0, 1.0, 9.0, 9.5, 9.6, 9.7], read=True) == [1, 5]


def test_frames_of_one_time_are_one_moment() -> None:
    assert taken(Sampling(count=1), [2.0, 2.0], read=True) == [1]


def test_a_clip_without_frames_has_none_to_take() -> None:
    assert taken(Sampling(count=3), [], read=True) == []


@given(
    st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=50).map(sorted),
    st.integers(1, 60),
)
def test_a_count_never_takes_more_than_that_and_always_something(
    times: list[float], count: int
) -> None:
    numbers = taken(Sampling(count=count), times, read=True)
    assert 1 <= len(numbers) <= count


@given(
    st.lists(st.floats(0, 100, allow_subnormal=False), max_size=50).map(sorted), st.floats(0.1, 50)
)
def test_two_frames_are_never_taken_within_one_period(times: list[float], fps: float) -> None:
    periods = [int(times[number] * fps + 1e-6) for number in taken(Sampling(fps=fps), times)]
    assert len(set(periods)) == len(periods)
