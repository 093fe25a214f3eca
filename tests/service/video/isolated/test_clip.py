"""Videos in processes of their own: the same answers as in the service, and what becomes of bad ones."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.errors import (
    BrokenVideoError,
    FovealError,
    OverloadedError,
    TooManyPixelsError,
    UnavailableError,
    VideoError,
)
from service.imaging.isolated.child import DecoderProcess
from service.video.allowed import Allowed
from service.video.isolated.clip import PROGRAM, BadAnswerError, IsolatedClip, Isolation
from service.video.isolated.places import Places
from service.video.opener import OpeningHere
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from service.video.source import Source
from tests import bad_video
from tests.clips import HEADER_FIRST, avi_of, bikes, counting, empty, encode_clip, ramp, tone
from tests.images import encode
from tests.processes import has_ended
from tests.service.video.test_opening import animated, still

EVERY = Sampling(every_n=1)
LONG = 60.0
BAD = "tests.bad_video"
CASES = Path(__file__).parents[3] / "data" / "cases"


class Videos:
    """Opens videos in processes, which are ended with the test, and knows why some have ended before."""

    def __init__(self) -> None:
        self.ends = Counter[str]()
        self.processes: list[DecoderProcess] = []
        self.clips: list[IsolatedClip] = []

    def __call__(
        self,
        source: bytes | Source,
        sampling: Sampling = EVERY,
        limits: VideoLimits | None = None,
        *,
        program: str = PROGRAM,
        places: Places | None = None,
        memory_bytes: int = 512 << 20,
        seconds: float = LONG,
        clock: Callable[[], float] = time.perf_counter,
    ) -> IsolatedClip:
        isolation = Isolation(
            places or Places(1, LONG),
            lambda: memory_bytes,
            seconds,
            on_end=lambda reason: self.ends.update([reason]),
            program=program,
            start=self.start,
            clock=clock,
        )
        file = BytesIO(source) if isinstance(source, bytes) else source
        clip = isolation.opening(file, sampling, limits or VideoLimits())
        self.clips.append(clip)
        return clip

    def start(self, program: str, memory_bytes: int, clock: Callable[[], float]) -> DecoderProcess:
        process = DecoderProcess(program, memory_bytes, clock)
        self.processes.append(process)
        return process

    def bad(self, act: str, **options: Any) -> IsolatedClip:
        """Return a video whose process does this."""
        return self(b"a video\n" + act.encode(), program=BAD, **options)

    def all_ended(self) -> bool:
        return all(process.ended for process in self.processes)


@pytest.fixture
def videos() -> Iterator[Videos]:
    made = Videos()
    yield made
    for clip in made.clips:
        clip.close()
    assert made.all_ended()


def jpeg(width: int, height: int) -> bytes:
    return encode(Image.new("RGB", (width, height), "orange"), "JPEG")


def rotated() -> bytes:
    return encode_clip(map(ramp, range(12)), rotation=90, container_options=HEADER_FIRST)


def wide() -> bytes:
    return encode_clip(map(ramp, range(12)), aspect=Fraction(3, 2))


def uneven() -> bytes:
    times = [number * 0.1 + (number % 3) * 0.02 for number in range(12)]
    return encode_clip(map(ramp, range(12)), form="matroska", times=times)


def clear() -> bytes:
    images = map(ramp, range(6))
    return encode_clip(images, form="mov", codec="qtrle", pixel_format="argb")


def flipped(body: bytes, at: float) -> bytes:
    """Return a file with 40 bytes that are wrong."""
    place = int(len(body) * at)
    return body[:place] + bytes(255 - one for one in body[place : place + 40]) + body[place + 40 :]


FILES: dict[str, Callable[[], bytes]] = {
    "mp4": lambda: counting(12),
    "mov": lambda: counting(12, "mov"),
    "hevc": lambda: counting(12, "mp4", "libx265"),
    "webm": lambda: counting(12, "webm", "libvpx"),
    "vp9": lambda: counting(12, "webm", "libvpx-vp9"),
    "av1": lambda: counting(12, "mp4", "libsvtav1"),
    "mkv": lambda: counting(12, "matroska"),
    "avi": lambda: counting(12, "avi", "mpeg4"),
    "mjpeg": lambda: counting(12, "avi", "mjpeg"),
    "gif": lambda: animated("GIF"),
    "png": lambda: animated("PNG"),
    "webp": lambda: animated("WEBP"),
    "alpha beside": (CASES / "vp9-alpha.webm").read_bytes,
    "alpha": clear,
    "large": lambda: avi_of([encode(Image.effect_noise((1600, 1200), 90).convert("RGB"), "JPEG")]),
    "rotated": rotated,
    "wide": wide,
    "uneven": uneven,
    "header at its end": bikes,
    "cut": lambda: counting(60)[: len(counting(60)) // 2],
    "cut header": lambda: bikes()[:200_000],
    "cut gif": lambda: animated("GIF")[:-30],
    "damaged": lambda: flipped(counting(12), 0.7),
    "damaged webp": lambda: flipped(animated("WEBP"), 0.6),
    "no frame": empty,
    "no video": tone,
    "a still image": still,
    "text": lambda: b"text",
    "nothing": lambda: b"",
}


def watched(opening: Any, pixels: int = 0) -> list[object]:
    """Return all that a video gives: its frames, what is said of it, and its error."""
    found: list[object] = []
    clip = None
    try:
        clip = opening.open()
        found += [clip.pixels, clip.info]
        if pixels:
            clip.allow(pixels)
        for frame in clip:
            found.append((frame.number, frame.seconds, frame.max_pixels))
            try:
                image = frame.image()
            except FovealError as error:
                found += [type(error), str(error)]
            else:
                found += [image.mode, image.size, image.tobytes()]
                found += [frame.pixels, frame.held_bytes]
        found += [clip.ended, clip.detail]
    except FovealError as error:
        found += [type(error), str(error)]
    if clip is not None:
        found += [clip.counts, clip.info]
        clip.close()
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_video_gives_what_it_gives_in_the_service(videos: Videos, name: str) -> None:
    body = FILES[name]()
    limits = VideoLimits()
    ours = watched(OpeningHere(BytesIO(body), Sampling(fps=5), limits))
    assert len(ours) >= 2
    assert watched(videos(body, Sampling(fps=5))) == ours
    assert not videos.ends


@pytest.mark.parametrize(
    ("sampling", "limits"),
    [
        (Sampling(count=3), VideoLimits()),
        (EVERY, VideoLimits(max_frames=5)),
        (EVERY, VideoLimits(max_seconds=0.3)),
        (EVERY, VideoLimits(max_pixels=1000)),
        (EVERY, VideoLimits(allowed=Allowed(("webm",)))),
        (EVERY, VideoLimits(allowed=Allowed(codecs=("h264",)))),
        (EVERY, VideoLimits(allowed=Allowed(codecs=("vp9",)))),
    ],
)
def test_samplings_and_limits_are_the_same(
    videos: Videos, sampling: Sampling, limits: VideoLimits
) -> None:
    body = counting(12)
    ours = watched(OpeningHere(BytesIO(body), sampling, limits))
    assert watched(videos(body, sampling, limits)) == ours


def test_a_frame_that_is_too_large_has_its_own_error_and_the_others_are_given(
    videos: Videos,
) -> None:
    body = avi_of([jpeg(64, 48), jpeg(200, 150), jpeg(64, 48)])
    limits = VideoLimits(max_pixels=64 * 48)
    ours = watched(OpeningHere(BytesIO(body), EVERY, limits))
    assert TooManyPixelsError in ours
    assert watched(videos(body, EVERY, limits)) == ours


def test_no_frame_is_decoded_that_is_larger_than_memory_has_room_for(videos: Videos) -> None:
    body = avi_of([jpeg(64, 48), jpeg(640, 480)])
    ours = watched(OpeningHere(BytesIO(body), EVERY, VideoLimits()), pixels=64 * 48)
    assert watched(videos(body), pixels=64 * 48) == ours
    assert ours != watched(videos(body))


@pytest.mark.parametrize(
    ("act", "kind", "words", "reason"),
    [
        ("segfault", BrokenVideoError, "crash (SIGSEGV)", "crash"),
        ("abort", BrokenVideoError, "crash (SIGABRT)", "crash"),
        ("allocate", VideoError, "more memory than the 100 MiB", "memory"),
        ("killed", UnavailableError, "was ended", "killed"),
        ("bug", BadAnswerError, "KeyError", "reply"),
        *((act, BadAnswerError, "", "reply") for act in (*bad_video.SAYS, *bad_video.SHOWS)),
    ],
)
def test_a_process_that_crashes_or_lies_costs_its_own_video_alone(
    videos: Videos, act: str, kind: type[Exception], words: str, reason: str
) -> None:
    with pytest.raises(kind) as caught:
        list(videos.bad(act, memory_bytes=100 << 20).open())
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert videos.ends == {reason: 1}
    assert videos.all_ended()


@pytest.mark.parametrize("act", ["sleep", "again"])
def test_a_process_that_gives_nothing_is_ended_in_time(videos: Videos, act: str) -> None:
    with pytest.raises(VideoError) as caught:
        videos.bad(act, seconds=0.5).open()
    assert "worked for the 0.5 s" in str(caught.value)
    assert caught.value.code == "bad_video"
    assert videos.ends == {"time": 1}
    assert videos.all_ended()


def test_a_process_that_was_stopped_from_outside_is_not_the_fault_of_the_video(
    videos: Videos,
) -> None:
    clip = videos(counting(12), seconds=3).open()
    os.kill(videos.processes[0].pid, signal.SIGSTOP)
    with pytest.raises(UnavailableError):
        list(clip)
    assert videos.ends == {"killed": 1}


def test_what_came_before_a_crash_was_given(videos: Videos) -> None:
    frames = iter(videos.bad("frame then segfault").open())
    assert next(frames).image().size == (4, 2)
    with pytest.raises(BrokenVideoError):
        next(frames)


def test_no_more_frames_are_taken_than_are_allowed(videos: Videos) -> None:
    frames = iter(videos.bad("frame", limits=VideoLimits(max_frames=5)).open())
    for _ in range(5):
        next(frames)
    with pytest.raises(BadAnswerError):
        next(frames)


def test_a_process_can_open_no_file_and_make_no_connection(videos: Videos) -> None:
    assert list(videos.bad("escape").open()) == []


@pytest.mark.parametrize("act", ["sleep", "frame then sleep"])
def test_a_video_that_hangs_ends_when_nobody_needs_it(videos: Videos, act: str) -> None:
    clip = videos.bad(act)
    found: list[object] = []

    def watch() -> None:
        try:
            found.extend(clip.open())
        except UnavailableError as error:
            found.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    while not videos.processes:
        time.sleep(0.01)
    clip.stop()
    thread.join()
    assert len(found) <= 1
    assert not videos.ends
    assert videos.all_ended()


def test_one_that_was_stopped_while_its_frames_are_read_gives_no_more(videos: Videos) -> None:
    clip = videos(counting(12)).open()
    frames = iter(clip)
    next(frames)
    clip.stop()
    assert list(frames) == []
    clip.close()
    assert videos.all_ended()


def test_one_that_nobody_needs_is_not_opened(videos: Videos) -> None:
    clip = videos(counting(12))
    clip.stop()
    with pytest.raises(UnavailableError):
        clip.open()
    assert videos.all_ended()


class SlowFile(BytesIO):
    """A file whose bytes behind the first ones do not come before they may."""

    def __init__(self, body: bytes, begin: int) -> None:
        super().__init__(body)
        self.begin = begin
        self.come = threading.Event()
        self.is_read = threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self.begin:
            self.is_read.set()
            self.come.wait(LONG)
        return super().read(size)


def test_to_wait_for_the_client_is_no_work(videos: Videos) -> None:
    late = 0.0

    class LateFile(BytesIO):
        """A file of which each part comes after two minutes."""

        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal late
            late += 2 * LONG
            return super().read(size)

    clip = videos(LateFile(counting(60)), clock=lambda: time.perf_counter() + late)
    assert len(list(clip.open())) == 60
    assert late > 2 * LONG
    assert not videos.ends


def test_the_place_of_a_video_whose_bytes_do_not_come_is_given_to_another(videos: Videos) -> None:
    places, file = Places(1, LONG), SlowFile(counting(60), 4096)
    slow = videos(file, places=places)
    errors: list[BaseException] = []

    def watch() -> None:
        try:
            list(slow.open())
        except OverloadedError as error:
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    file.is_read.wait(LONG)
    assert len(list(videos(counting(12), places=places).open())) == 12
    assert has_ended(videos.processes[0].pid) or videos.processes[0].ended
    file.come.set()
    thread.join()
    (error,) = errors
    assert "so slowly" in str(error)
    assert not videos.ends


def test_a_video_waits_for_a_place_only_for_a_time(videos: Videos) -> None:
    places = Places(1, 0.2)
    first = videos(counting(12), places=places).open()
    with pytest.raises(OverloadedError):
        videos(counting(12), places=places).open()
    first.close()
    assert len(list(videos(counting(12), places=places).open())) == 12
