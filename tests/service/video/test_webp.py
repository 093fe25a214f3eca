"""Animated WebP files as videos: composed as RFC 9649 says, over white, and shown at their times."""

import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import (
    BrokenVideoError,
    NoFramesError,
    TooManyFramesError,
    TooManyPixelsError,
    VideoError,
    VideoTooLongError,
)
from service.video.opening import AnyClip, AnyFrame, open_clip
from service.video.reader import MOST_ANIMATION_FRAMES, Clip, VideoLimits
from service.video.sampling import Sampling
from service.video.webp import read_webp
from tests import webps
from tests.animations import HEIGHT, WIDTH, Part, composed, parts
from tests.clips import counting
from tests.webps import extended, lossless, webp

EVERY = Sampling(every_n=1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2)


def small(number: int) -> bytes:
    """Return a number of 24 bits."""
    return number.to_bytes(3, "little")


def encoded(frames: list[Part]) -> bytes:
    """Return the file, RFC 9649, section 2.7.1; each frame is the lossless still image that libwebp makes."""
    body = chunk(b"VP8X", bytes([0x12, 0, 0, 0]) + small(WIDTH - 1) + small(HEIGHT - 1))
    body += chunk(b"ANIM", b"\xff\0\0\xff" + bytes(2))
    for one in frames:
        still = BytesIO()
        Image.fromarray(one.pixels).save(still, "WEBP", lossless=True, exact=True)
        height, width = one.pixels.shape[:2]
        place = small(one.left // 2) + small(one.top // 2) + small(width - 1) + small(height - 1)
        flags = (0 if one.blend else 2) | one.dispose
        pixels = still.getvalue()
        lossless = pixels[pixels.index(b"VP8L") :]
        body += chunk(b"ANMF", place + small(10 * one.delay) + bytes([flags]) + lossless)
    return chunk(b"RIFF", b"WEBP" + body)


def opened(body: bytes, sampling: Sampling = EVERY, **limits: float) -> AnyClip:
    return open_clip(BytesIO(body), sampling, VideoLimits(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("blend", [0, 1], ids=["source", "over"])
@pytest.mark.parametrize("dispose", [0, 1], ids=["none", "background"])
def test_frames_are_composed_as_the_specification_says(dispose: int, blend: int) -> None:
    frames = parts(dispose, blend, seed=dispose)
    shown = composed(frames)
    for sampling, numbers in (
        (EVERY, [0, 1, 2, 3, 4, 5]),
        (Sampling(every_n=4), [0, 4]),
        (Sampling(count=3), [2, 3, 5]),
    ):
        clip = opened(encoded(frames), sampling)
        found: list[AnyFrame] = list(clip)
        assert [frame.number for frame in found] == numbers
        assert (clip.ended, clip.detail) == ("complete", "")
        assert clip.counts.decoded == numbers[-1] + 1
        assert clip.counts.skipped == 5 - numbers[-1]
        for frame in found:
            image = np.asarray(frame.image(), np.float64)
            np.testing.assert_allclose(image, shown[frame.number], atol=3)


def test_each_frame_has_the_time_that_the_ones_before_it_take() -> None:
    clip = opened(encoded(parts(0, 0, seed=1)))
    assert [frame.seconds for frame in clip] == pytest.approx([0, 0.1, 0.3, 0.6, 1.0, 1.5])
    assert (clip.info.seconds, clip.info.expected) == (2.1, 6)
    assert (clip.info.width, clip.info.height, clip.info.container) == (WIDTH, HEIGHT, "webp")


def test_a_cut_one_is_answered_up_to_its_cut() -> None:
    body = encoded(parts(0, 1, seed=2))
    counts = []
    for cut in range(22, len(body) - 1, 23):
        try:
            clip = opened(body[:cut])
            counts.append(len(list(clip)))
        except VideoError as error:
            assert (error.status, counts) == (422, [])
        else:
            assert (clip.ended, "its end is missing" in clip.detail) == ("truncated", True)
    assert counts == sorted(counts)
    assert set(counts) == {1, 2, 3, 4, 5}
    assert [frame.number for frame in opened(body + b"appended")] == [0, 1, 2, 3, 4, 5]


def test_a_damaged_frame_ends_it() -> None:
    body = encoded(parts(0, 0, seed=3))
    at = [place for place in range(len(body)) if body[place : place + 4] == b"VP8L"][3]
    damaged = body[: at + 8] + b"\0" * 20 + body[at + 28 :]
    try:
        clip = opened(damaged)
        found = list(clip)
    except BrokenVideoError:
        return
    assert (len(found), clip.ended) == (3, "truncated")


def test_it_is_bounded_before_it_is_decoded() -> None:
    body = encoded(parts(0, 0, seed=1))
    with pytest.raises(TooManyPixelsError):
        opened(body, max_pixels=WIDTH * HEIGHT - 1)
    with pytest.raises(TooManyFramesError, match="6 frames would be sampled"):
        opened(body, max_frames=5)
    with pytest.raises(VideoTooLongError, match=r"lasts 2\.1 seconds"):
        opened(body, max_seconds=2)
    with pytest.raises(NoFramesError):
        opened(encoded([]))


def test_a_frame_whose_prefix_codes_take_more_than_its_pixels_is_refused() -> None:
    head = (extended(512, 512, 0x02), (b"ANIM", bytes(6)))
    usual = webps.frame(512, 512, (b"VP8L", lossless(512, 512, 1000, block_bits=4)))
    hostile = webps.frame(512, 512, (b"VP8L", lossless(512, 512, 16384)))
    assert len(list(opened(webp(*head, usual, usual)))) == 2

    with pytest.raises(BrokenVideoError, match="16384 groups of prefix codes"):
        list(opened(webp(*head, usual, hostile)))


def test_frames_that_last_no_time_are_bounded_in_number() -> None:
    least = chunk(b"ANMF", bytes(16))
    start = encoded(parts(0, 0, seed=1))[12:]
    allowed = chunk(b"RIFF", b"WEBP" + start + least * (MOST_ANIMATION_FRAMES - 6))
    assert len(read_webp(allowed).parts) == MOST_ANIMATION_FRAMES
    with pytest.raises(
        TooManyFramesError, match=f"WebP stores more than the {MOST_ANIMATION_FRAMES} frames"
    ):
        opened(chunk(b"RIFF", b"WEBP" + start + least * (MOST_ANIMATION_FRAMES - 5)))


def test_it_ends_before_its_next_frame_when_it_is_stopped() -> None:
    clip = opened(encoded(parts(0, 0, seed=1)))
    frames = iter(clip)
    next(frames)
    clip.stop()
    assert list(frames) == []


def test_other_videos_are_read_by_ffmpeg() -> None:
    assert isinstance(opened(counting(3, "mp4", "h264")), Clip)


def test_a_frame_that_exceeds_the_canvas_counts_as_large_as_it_is() -> None:
    body = bytearray(encoded(parts(0, 0, seed=1)))
    at = body.rindex(b"ANMF") + 8 + 6
    body[at : at + 6] = small(9000 - 1) * 2
    with pytest.raises(TooManyPixelsError, match="9000×9000"):
        opened(bytes(body))


WITHOUT_MEMORY = """
import re, resource, sys
from pathlib import Path
from service.video.webp import read_webp

large, small = (read_webp(Path(name).read_bytes()).parts[0] for name in sys.argv[1:])
small.read()  # loads what a decoder loads once
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 32 * 2**20, resource.RLIM_INFINITY))
try:
    large.read()
except MemoryError:
    print("no memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory and /proc need Linux")
def test_a_frame_without_memory_for_it_is_not_called_damaged(tmp_path: Path) -> None:
    for name, size in (("large", (4000, 3000)), ("small", (64, 64))):
        first, second = (Image.new("RGB", size, color) for color in ("red", "blue"))
        first.save(tmp_path / name, "WEBP", save_all=True, append_images=[second], duration=100)
    command = [
        sys.executable,
        "-c",
        WITHOUT_MEMORY,
        *(str(tmp_path / name) for name in ("large", "small")),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.stdout == "no memory\n", ended.stderr
