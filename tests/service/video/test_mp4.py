import subprocess
import sys
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from service.video.mp4 import Film, encoder_bytes
from tests.clips import number_of, ramp, stored_frames


def film_of(times: list[float], size: tuple[int, int] = (64, 48)) -> list[bytes]:
    """Return what a film hands out: a piece a frame, and the rest."""
    film = Film()
    pieces = [film.add(Image.fromarray(ramp(n, size)), seconds) for n, seconds in enumerate(times)]
    return [*pieces, film.end()]


def test_frames_come_back_in_order_at_their_times() -> None:
    times = [0.0, 0.1, 0.35, 1.0]
    frames = stored_frames(b"".join(film_of(times)))
    assert [seconds for seconds, _ in frames] == pytest.approx(times, abs=1e-4)
    assert [number_of(pixels) for _, pixels in frames] == pytest.approx(range(4), abs=1)


def test_what_has_come_so_far_can_be_shown() -> None:
    pieces = film_of([0.0, 0.1, 0.2, 0.3])
    counts = [len(stored_frames(b"".join(pieces[:number]))) for number in range(2, 5)]
    assert counts == sorted(counts)
    assert counts[0] >= 1
    assert all(pieces[1:4])


def test_a_time_that_does_not_rise_is_moved_behind_the_one_before() -> None:
    frames = stored_frames(b"".join(film_of([0.5, 0.5, 0.2])))
    assert len(frames) == 3
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(frames))


def test_the_last_frame_is_shown_as_long_as_the_one_before() -> None:
    with av.open(BytesIO(b"".join(film_of([0.0, 0.25, 0.5]))), "r") as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(0.75, abs=0.01)


def test_it_says_the_level_of_h264_that_its_size_needs() -> None:
    with av.open(BytesIO(b"".join(film_of([0.0, 0.2], (640, 480)))), "r") as container:
        configuration = container.streams.video[0].codec_context.extradata
    assert configuration is not None
    assert (
        configuration[3] <= 32
    )  # 3.2, ISO/IEC 14496-15, section 5.3.3.1.2; telephones play up to 4 or 5


@pytest.mark.parametrize(
    ("given", "stored"), [((65, 49), (64, 48)), ((1, 1), (2, 2)), ((2, 7), (2, 6))]
)
def test_sides_are_made_even(given: tuple[int, int], stored: tuple[int, int]) -> None:
    ((_, pixels), *_) = stored_frames(b"".join(film_of([0.0], given)))
    assert pixels.shape == (stored[1], stored[0], 3)


def test_the_first_frame_gives_the_film_its_size() -> None:
    film = Film()
    pieces = [
        film.add(Image.new("RGB", (64, 48), "red"), 0.0),
        film.add(Image.new("RGB", (128, 30), "red"), 0.1),
        film.end(),
    ]
    frames = stored_frames(b"".join(pieces))
    assert [pixels.shape for _, pixels in frames] == [(48, 64, 3)] * 2
    assert np.abs(frames[1][1].reshape(-1, 3).mean(axis=0) - (255, 0, 0)).max() < 12


def test_a_film_without_frames_is_nothing() -> None:
    assert Film().end() == b""


def test_a_film_that_has_ended_has_nothing_more() -> None:
    film = Film()
    film.add(Image.new("RGB", (64, 48)), 0.0)
    assert film.end()
    assert film.end() == b""


FILM_OF_NOISE = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from service.runtime.host import most_private_bytes, private_bytes, return_large_blocks_at_once
from service.video.mp4 import Film

return_large_blocks_at_once()
size = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
for shown in (64, 48), size:
    film, before = Film(), private_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    for number in range(3):
        film.add(Image.frombytes("RGB", shown, rng.bytes(3 * shown[0] * shown[1])), number / 10)
    most = most_private_bytes() - before
    film.end()
print(most)
"""
"""Prints how many bytes a film takes at most, with the image that is added, after a first one."""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the system does not say what was held"
)
@pytest.mark.parametrize("size", [(320, 240), (1280, 720), (2560, 1440)])
def test_a_film_takes_no_more_memory_than_is_counted(size: tuple[int, int]) -> None:
    call = [sys.executable, "-c", FILM_OF_NOISE, *map(str, size)]
    taken = int(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    counted = encoder_bytes(size[0] * size[1])
    assert counted / 4 < taken + (4 << 20)
    assert taken < counted
