"""The judge of a soak, held against series whose growth is known."""

import math
import random

import pytest

from benchmarks.soak.judge import ALLOWED, Allowance, Verdict, judge, problems_of
from benchmarks.soak.tally import NO_ANSWER, Tally
from benchmarks.soak.traffic import Kind, Request

HOUR = range(0, 3600, 5)
WARM_UP = 600.0


def verdict_of(values: list[float], allowance: Allowance = ALLOWED["memory_mib"]) -> Verdict:
    return judge("memory_mib", [float(at) for at in HOUR], values, WARM_UP, allowance)


def noisy(seed: int, deviation: float) -> list[float]:
    """Return zero-mean noise with rare high peaks, as images in work make it."""
    chance = random.Random(seed)
    return [chance.gauss(0, deviation) + (200 if chance.random() < 0.05 else 0) for _ in HOUR]


@pytest.mark.parametrize("seed", range(5))
def test_a_level_with_noise_and_peaks_is_flat(seed: int) -> None:
    assert not verdict_of([600 + noise for noise in noisy(seed, 20)]).grew


@pytest.mark.parametrize("seed", range(5))
def test_a_mebibyte_a_minute_under_the_same_noise_grows(seed: int) -> None:
    found = verdict_of(
        [600 + at / 60 + noise for at, noise in zip(HOUR, noisy(seed, 20), strict=True)]
    )

    assert found.grew
    assert found.growth == pytest.approx(50, abs=12)  # a mebibyte for each of 50 minutes


def test_growth_within_the_warm_up_is_right() -> None:
    assert not verdict_of([100 + min(at, 590) for at in HOUR]).grew


def test_memory_that_is_freed_at_times_and_still_rises_grows() -> None:
    """A saw: 100 MiB up in six minutes, 90 down."""
    found = verdict_of([600 + at / 36 + at % 360 / 4 for at in HOUR])

    assert found.grew


def test_one_step_is_no_growth() -> None:
    """A model's first explanation loads a session, whenever it comes."""
    assert not verdict_of([600.0 if at < 3300 else 680.0 for at in HOUR]).grew


def test_memory_that_falls_does_not_grow() -> None:
    assert not verdict_of([900 - at / 10 for at in HOUR]).grew


def test_growth_that_slows_down_but_does_not_end_grows() -> None:
    assert verdict_of([600 + 40 * math.log1p(at / 60) for at in HOUR]).grew


@pytest.mark.parametrize(
    ("name", "level", "growth"), [("threads", 9, 4), ("files", 20, 12), ("series", 1600, 50)]
)
def test_a_slow_leak_of_each_quantity_grows(name: str, level: int, growth: int) -> None:
    values = [float(level + growth * at // 3600) for at in HOUR]

    assert judge(name, [float(at) for at in HOUR], values, WARM_UP, ALLOWED[name]).grew


def test_a_run_that_is_too_short_is_not_judged() -> None:
    with pytest.raises(ValueError, match=r"19 samples after 600 s; the judge needs 20"):
        judge("threads", list(range(581, 619)), [1.0] * 38, WARM_UP, ALLOWED["threads"])


def kind(name: str, *expected: int) -> Kind:
    return Kind(name, 1, lambda _: Request("GET", "/"), frozenset(expected))


def test_a_wrong_status_and_a_missing_answer_are_problems() -> None:
    tally = Tally()
    tally.add(kind("classify", 200), 500, 0.1)
    tally.add(kind("noise", 415), NO_ANSWER, 60.0)
    tally.add(kind("noise", 415), 415, 0.1)

    assert problems_of((), tally) == [
        "1 wrong results of classify: 500",
        "1 wrong results of noise: no answer",
    ]


@pytest.mark.parametrize(
    ("busy", "found"), [(20, []), (21, ["21 of 1000 requests got 503 or 504; at most 20 may"])]
)
def test_a_fiftieth_of_the_requests_may_be_refused(busy: int, found: list[str]) -> None:
    tally = Tally()
    for number in range(1000):
        tally.add(kind("video", 200), 503 if number < busy else 200, 0.1)

    assert problems_of((), tally) == found


def test_a_body_that_never_comes_should_get_504() -> None:
    tally = Tally()
    tally.add(kind("never sends", 504, 503), 504, 1.5)

    assert problems_of((), tally) == []


def test_growth_is_reported_with_its_levels() -> None:
    grew = Verdict("threads", start=7, warm=8, end=30, growth=21.4, allowed=2)

    assert problems_of((grew,), Tally()) == [
        "threads grew by 21.4 after the warm-up (from 8 to 30); at most 2.0 is allowed"
    ]
