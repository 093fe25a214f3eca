"""Large images are in work at once only as far as they fit together."""

import math
import threading
from contextlib import ExitStack

import pytest

from service.errors import DeadlineError, OverloadedError
from service.imaging.room import (
    BYTES_PER_PIXEL,
    KEPT_BYTES_PER_PIXEL,
    SMALL_PIXELS,
    PixelRoom,
)
from tests.service.api.clock import Clock

LARGE = 4 * SMALL_PIXELS


def test_what_fits_together_is_in_work_together_and_a_pixel_more_waits() -> None:
    clock = Clock()
    room = PixelRoom(2 * LARGE, clock)
    with room.hold(LARGE, math.inf):
        with room.hold(LARGE, math.inf):
            assert room.in_work == 2 * LARGE
        with pytest.raises(DeadlineError), room.hold(LARGE + 1, clock.now):
            pass
        assert room.in_work == LARGE
    assert room.in_work == 0


def test_an_image_larger_than_the_room_is_alone_in_work() -> None:
    clock = Clock()
    room = PixelRoom(LARGE, clock)
    with (
        room.hold(3 * LARGE, math.inf),
        pytest.raises(DeadlineError),
        room.hold(SMALL_PIXELS + 1, clock.now),
    ):
        pass
    with (
        room.hold(SMALL_PIXELS + 1, math.inf),
        pytest.raises(DeadlineError),
        room.hold(3 * LARGE, clock.now),
    ):
        pass


def test_a_small_image_never_waits() -> None:
    room = PixelRoom(1)
    with room.hold(LARGE, math.inf), room.hold(SMALL_PIXELS, -math.inf):
        assert room.in_work == LARGE


def test_those_that_wait_follow_in_their_order() -> None:
    room = PixelRoom(LARGE)
    order: list[int] = []
    done = threading.Barrier(4, timeout=10)

    def work(number: int) -> None:
        with room.hold(LARGE, math.inf):
            order.append(number)
        done.wait()

    with ExitStack() as stack:
        stack.enter_context(room.hold(LARGE, math.inf))
        for number in range(3):
            threading.Thread(target=work, args=(number,), daemon=True).start()
            while room.waiting <= number:
                pass
    done.wait()
    assert order == [0, 1, 2]


def test_room_is_free_again_when_the_work_fails() -> None:
    room = PixelRoom(LARGE)
    with pytest.raises(ZeroDivisionError), room.hold(LARGE, math.inf):
        1 / 0  # noqa: B018
    assert (room.in_work, room.waiting) == (0, 0)


def test_a_decoded_image_that_is_kept_takes_room_by_what_it_holds_until_it_is_released() -> None:
    clock = Clock()
    room = PixelRoom(2 * LARGE, clock)
    with room.keep(LARGE, math.inf) as kept:
        assert (room.in_work, room.kept) == (LARGE, 0)
    share = LARGE * KEPT_BYTES_PER_PIXEL // BYTES_PER_PIXEL
    assert (room.in_work, room.kept) == (0, share)
    with (
        room.hold(LARGE, math.inf),
        pytest.raises(DeadlineError),
        room.hold(LARGE - share + 1, clock.now),
    ):
        pass
    for _ in range(2):
        kept.release()
        assert room.kept == 0
    with room.hold(LARGE, math.inf), room.hold(LARGE, math.inf):
        pass


def test_no_further_image_is_decoded_to_be_kept_where_all_do_not_fit() -> None:
    clock = Clock()
    room = PixelRoom(LARGE, clock)
    with room.keep(2 * LARGE, math.inf) as kept:
        pass
    with pytest.raises(DeadlineError), room.keep(LARGE, clock.now):
        pass
    with room.hold(LARGE, math.inf):
        assert room.in_work == LARGE, "what is made of a kept image is work, and goes on"
    kept.release()
    with room.keep(LARGE, math.inf):
        pass


def test_work_goes_before_an_image_that_waits_for_others_to_be_released() -> None:
    room = PixelRoom(LARGE)
    with room.keep(LARGE, math.inf) as kept:
        pass
    decoded = threading.Event()

    def decode() -> None:
        with room.keep(LARGE, math.inf) as place:
            decoded.set()
        place.release()

    thread = threading.Thread(target=decode, daemon=True)
    thread.start()
    while not room.waiting:
        pass
    with room.hold(LARGE, math.inf):
        assert not decoded.is_set()
    kept.release()
    assert decoded.wait(10)
    thread.join(10)
    assert (room.in_work, room.kept, room.waiting) == (0, 0, 0)


def test_an_image_that_could_not_be_decoded_or_is_small_is_not_kept() -> None:
    room = PixelRoom(LARGE)
    with pytest.raises(ZeroDivisionError), room.keep(LARGE, math.inf):
        1 / 0  # noqa: B018
    with room.keep(SMALL_PIXELS, -math.inf):
        pass
    assert (room.in_work, room.kept) == (0, 0)


def test_what_was_freed_goes_back_to_the_system_only_where_memory_is_short() -> None:
    returned: list[bool] = []
    room = PixelRoom(LARGE, return_memory=lambda: returned.append(True))
    room.give_back()
    assert not returned
    room.fit(LARGE, LARGE)
    room.give_back()
    assert returned == [True]


def test_a_worker_does_not_wait_for_what_videos_were_lent() -> None:
    clock = Clock()
    room = PixelRoom(2 * LARGE, clock)
    room.lend(LARGE)
    with room.hold(LARGE, math.inf, on_worker=True):
        pass
    with (
        pytest.raises(OverloadedError, match="Videos hold the memory"),
        room.hold(LARGE + 1, math.inf, on_worker=True),
    ):
        pass
    with pytest.raises(DeadlineError), room.hold(LARGE + 1, clock.now):
        pass
    assert room.is_idle
