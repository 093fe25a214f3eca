"""When a network rests after runs that did not end, and for how long."""

from service.runtime.back_off import CALM_TIMES, LONGEST_SECONDS, BackOff

LIMIT = 10.0


def test_one_stuck_run_changes_nothing() -> None:
    back_off = BackOff()
    back_off.note_stuck(0.0, LIMIT)
    assert back_off.left_seconds(0.0) == 0
    assert not back_off.is_cautious(0.0)


def test_each_further_stuck_run_doubles_the_rest_up_to_the_longest() -> None:
    back_off, now, rests = BackOff(), 0.0, []
    for _ in range(9):
        back_off.note_stuck(now, LIMIT)
        rests.append(left := back_off.left_seconds(now))
        now += left + LIMIT
    assert rests == [0, 10, 20, 40, 80, 160, *[LONGEST_SECONDS] * 3]


def test_runs_that_began_before_a_rest_do_not_make_it_longer() -> None:
    back_off = BackOff()
    for now in (0.0, 0.0, 0.0, 3.0):
        back_off.note_stuck(now, LIMIT)
    assert back_off.left_seconds(3.0) == 7


def test_a_network_is_cautious_until_it_was_calm_for_long_enough_and_then_begins_anew() -> None:
    back_off = BackOff()
    for _ in range(2):
        back_off.note_stuck(0.0, LIMIT)
    calm = LIMIT + CALM_TIMES * LIMIT
    assert back_off.left_seconds(LIMIT) == 0
    assert back_off.is_cautious(calm - 1)
    assert not back_off.is_cautious(calm)
    back_off.note_stuck(calm, LIMIT)
    assert back_off.left_seconds(calm) == 0
