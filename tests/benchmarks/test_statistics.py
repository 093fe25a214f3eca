from benchmarks.statistics import (
    Sample,
    Spread,
    latency_difference_ms,
    spread,
    tail_ratio,
    throughput_ratio,
)


def a_sample(rate: float, p50_ms: float | None = None, p99_ms: float | None = None) -> Sample:
    return Sample(rate, 100, 0, 1.0, p50_ms, p99_ms)


def test_a_spread_is_the_median_between_its_extremes() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_a_slow_round_does_not_move_a_ratio_that_is_taken_within_rounds() -> None:
    rounds = [
        {"ours": a_sample(90), "limit": a_sample(100)},
        {"ours": a_sample(9), "limit": a_sample(10)},
        {"ours": a_sample(180), "limit": a_sample(200)},
    ]

    assert throughput_ratio(rounds, "ours", ["limit"]) == Spread(0.9, 0.9, 0.9)


def test_the_best_of_the_others_is_chosen_anew_in_each_round() -> None:
    rounds = [
        {"ours": a_sample(20), "a": a_sample(10), "b": a_sample(5)},
        {"ours": a_sample(20), "a": a_sample(4), "b": a_sample(8)},
        {"ours": a_sample(20), "a": a_sample(10)},
    ]

    assert throughput_ratio(rounds, "ours", ["a", "b"]) == Spread(2.0, 2.0, 2.5)


def test_a_round_in_which_all_others_failed_is_left_out() -> None:
    rounds = [{"ours": a_sample(20), "a": a_sample(0)}]

    assert throughput_ratio(rounds, "ours", ["a", "b"]) is None


def test_a_latency_is_compared_with_the_lowest_of_the_others() -> None:
    rounds = [{"ours": a_sample(1, 10.0), "a": a_sample(1, 9.0), "b": a_sample(1, 12.0)}]

    assert latency_difference_ms(rounds, "ours", ["a", "b", "c"]) == Spread(1.0, 1.0, 1.0)


def test_a_contender_without_latency_is_not_compared() -> None:
    rounds = [{"ours": a_sample(1, 10.0), "limit": a_sample(1)}]

    assert latency_difference_ms(rounds, "ours", ["limit"]) is None


def test_the_tail_is_p99_over_the_median() -> None:
    assert tail_ratio([{"ours": a_sample(1, 10.0, 25.0)}], "ours") == Spread(2.5, 2.5, 2.5)
