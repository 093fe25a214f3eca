"""What large images may take follows the memory of the process, and is never more than the settings allow."""

import math
from collections.abc import Callable

import pytest

from service.body_memory import BodyMemory
from service.errors import TooManyPixelsError
from service.image_memory import LEAST_HELD_BYTES, ImageMemory
from service.imaging.room import TIGHT_BYTES_PER_PIXEL, PixelRoom
from service.video_memory import VideoMemory

MAX_PIXELS = 64_000_000


def memory(
    room: PixelRoom,
    fitting: int,
    *,
    chosen_max: bool = False,
    chosen_room: bool = False,
    held: int = LEAST_HELD_BYTES,
    most_held: int = 0,
    bodies: BodyMemory | None = None,
    videos: VideoMemory | None = None,
    body_bytes: int = 0,
    on_short: Callable[[], None] = lambda: None,
) -> ImageMemory:
    """Return the memory in which so many pixels fit beside a service that holds the least."""
    bodies = bodies or BodyMemory()
    return ImageMemory(
        room,
        share_bytes=LEAST_HELD_BYTES + fitting * TIGHT_BYTES_PER_PIXEL,
        beside_bytes=0,
        max_pixels=MAX_PIXELS,
        chosen_max=chosen_max,
        chosen_room=chosen_room,
        bodies=bodies,
        videos=videos or VideoMemory(bodies, room, most_file_bytes=2**30),
        body_bytes=body_bytes,
        on_short=on_short,
        held=lambda: held,
        most_held=lambda: most_held,
    )


def test_where_there_is_memory_nothing_changes(caplog: pytest.LogCaptureFixture) -> None:
    room = PixelRoom(MAX_PIXELS)
    memory(room, MAX_PIXELS).learn()
    assert (room.pixels, room.largest, caplog.text) == (MAX_PIXELS, None, "")


def test_where_memory_is_short_a_larger_image_is_refused_and_the_log_says_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = PixelRoom(MAX_PIXELS)
    memory(room, 20_000_000).learn()
    assert "20.0 million pixels, not 64 million" in caplog.text
    with room.hold(20_000_000, math.inf):
        assert room.in_work == 20_000_000
    refused = pytest.raises(
        TooManyPixelsError, match=r"20\.1 million pixels are more than the 20\.0"
    )
    with refused, room.hold(20_100_000, math.inf):
        pass
    assert room.is_idle


def test_what_the_models_took_at_most_is_kept_for_their_runs() -> None:
    room = PixelRoom(MAX_PIXELS)
    runs = 10_000_000 * TIGHT_BYTES_PER_PIXEL
    memory(room, 30_000_000, most_held=LEAST_HELD_BYTES + runs).learn()
    assert room.largest == 20_000_000


def test_a_service_without_memory_for_any_image_reads_small_ones() -> None:
    room = PixelRoom(MAX_PIXELS)
    memory(room, 0, held=2**40).learn()
    with room.hold(1_000_000, math.inf):
        pass
    with pytest.raises(TooManyPixelsError), room.hold(1_000_001, math.inf):
        pass


def test_a_chosen_largest_image_is_never_refused_and_is_alone_in_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = PixelRoom(MAX_PIXELS)
    memory(room, 20_000_000, chosen_max=True).learn()
    assert (room.pixels, room.largest) == (20_000_000, None)
    assert "FOVEAL_MAX_PIXELS allows more than the 20.0 million pixels that fit" in caplog.text


@pytest.mark.parametrize(("chosen", "largest"), [(30_000_000, 30_000_000), (5_000_000, 20_000_000)])
def test_chosen_pixels_at_once_stay(chosen: int, largest: int) -> None:
    room = PixelRoom(chosen)
    memory(room, 20_000_000, chosen_room=True).learn()
    assert (room.pixels, room.largest) == (chosen, largest)


def test_nothing_changes_while_a_large_image_is_in_work() -> None:
    room = PixelRoom(MAX_PIXELS)
    with room.hold(MAX_PIXELS, math.inf):
        memory(room, 20_000_000).fit()
        assert room.largest is None


def test_where_memory_is_short_a_large_image_gives_its_own_back() -> None:
    returned: list[bool] = []
    room = PixelRoom(MAX_PIXELS, return_memory=lambda: returned.append(True))
    with room.hold(20_000_000, math.inf):
        pass
    assert not returned, "there is memory"
    memory(room, 20_000_000).learn()
    with room.hold(2_000_000, math.inf):
        pass
    assert not returned, "it is small"
    with room.hold(3_000_000, math.inf):
        assert not returned
    assert returned


def test_where_memory_is_short_work_that_takes_half_is_counted_as_half() -> None:
    room = PixelRoom(MAX_PIXELS)
    memory(room, 20_000_000).learn()
    with room.hold(40_000_000, math.inf, tight_share=2):
        assert room.in_work == 20_000_000
    assert room.is_idle
    refused = pytest.raises(
        TooManyPixelsError, match=r"41\.0 million pixels are more than the 40\.0"
    )
    with refused, room.hold(41_000_000, math.inf, tight_share=2):
        pass
    ample = PixelRoom(MAX_PIXELS)
    with ample.hold(40_000_000, math.inf, tight_share=2):
        assert ample.in_work == 40_000_000


def test_bodies_have_what_large_images_leave_and_a_third_at_least_where_that_is_little() -> None:
    enough = 128 << 20
    roomy, short = BodyMemory(), BodyMemory()
    room = PixelRoom(MAX_PIXELS)
    most = MAX_PIXELS + enough // TIGHT_BYTES_PER_PIXEL + 1
    said = list[str]()
    memory(
        room, most, bodies=roomy, body_bytes=enough, on_short=lambda: said.append("roomy")
    ).learn()
    assert (room.largest, said) == (None, [])
    assert roomy.limit is not None
    assert roomy.limit >= enough
    tight = memory(
        room, 12_000_000, bodies=short, body_bytes=enough, on_short=lambda: said.append("short")
    )
    tight.fit()
    tight.learn()
    assert (room.largest, said) == (8_000_000, ["short"])
    assert short.limit == 4_000_000 * TIGHT_BYTES_PER_PIXEL
