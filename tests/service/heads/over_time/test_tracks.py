"""Boxes that move are joined; boxes of other things are not."""

import pytest

from service.heads.detect import Detection
from service.heads.over_time.tracks import Tracker
from service.imaging.geometry import Box


def thing(left: float, top: float = 0.0, side: float = 10.0, kind: int = 1) -> Detection:
    box: Box = (left, top, left + side, top + side)
    return Detection(f"kind {kind}", kind, 0.9, box)


def test_two_things_that_pass_each_other_keep_their_numbers() -> None:
    tracker = Tracker()
    for step in range(21):
        found = [thing(4 * step), thing(80 - 4 * step, top=4)]
        assert tracker.add(step / 5, found) == [1, 2]
    paths = [[place.box[0] for place in track.path] for track in tracker.tracks]
    assert paths == [[4 * step for step in range(21)], [80 - 4 * step for step in range(21)]]


def test_a_fast_thing_is_found_where_its_speed_carries_it() -> None:
    tracker = Tracker()
    numbers = [tracker.add(left / 50, [thing(left)])[0] for left in (0, 5, 13, 21, 29)]
    assert numbers == [1, 1, 1, 1, 1]


def test_another_kind_in_the_same_place_is_another_thing() -> None:
    tracker = Tracker()
    assert tracker.add(0.0, [thing(0, kind=1)]) == [1]
    assert tracker.add(0.5, [thing(0, kind=2)]) == [2]


@pytest.mark.parametrize(("gap", "number"), [(0.8, 1), (1.6, 2)])
def test_what_was_out_of_sight_is_itself_for_a_while(gap: float, number: int) -> None:
    tracker = Tracker()
    for step in range(5):
        tracker.add(step * 0.2, [thing(0)])
    for step in range(1, round(gap / 0.2)):
        tracker.add(0.8 + step * 0.2, [])
    assert tracker.add(0.8 + gap, [thing(1)]) == [number]


def test_of_two_boxes_on_one_thing_the_nearer_continues_it() -> None:
    tracker = Tracker()
    tracker.add(0.0, [thing(0)])
    assert tracker.add(0.5, [thing(4), thing(1)]) == [2, 1]


def test_frames_without_things_are_taken() -> None:
    tracker = Tracker()
    assert tracker.add(0.0, []) == []
    assert tracker.tracks == []
