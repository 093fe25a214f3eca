"""Real decoder processes: what they make of good images, and what becomes of bad ones and of their neighbors."""

import os
import signal
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.card import ImageInput
from service.errors import (
    BrokenImageError,
    DeadlineError,
    FovealError,
    ImageError,
    ShuttingDownError,
    TooManyPixelsError,
    UnavailableError,
)
from service.imaging.decode import Limits
from service.imaging.decoder import ThreadDecoder
from service.imaging.isolated.decoder import BadReplyError, IsolatedDecoder
from service.imaging.room import PixelRoom
from service.imaging.work import announced
from tests.images import encode, photograph, plain, run_lengths
from tests.tiffs import tiled
from tests.webps import lossless, webp

CASES = Path(__file__).parents[3] / "data"
TARGET = ImageInput(height=24, width=16, resize="letterbox")
LONG = 60.0
GOOD = plain("red")


class Ends(Counter[str]):
    """How many processes ended, by reason."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Event()

    def add(self, reason: str) -> None:
        self[reason] += 1
        self.changed.set()


@contextmanager
def decoder(
    ends: Ends | None = None,
    *,
    count: int = 1,
    memory_bytes: int = 1 << 30,
    seconds: float = LONG,
    limits: Limits | None = None,
    room: PixelRoom | None = None,
    clock: Callable[[], float] = time.perf_counter,
    program: str = "tests.bad_decoder",
) -> Iterator[IsolatedDecoder]:
    made = IsolatedDecoder(
        limits or Limits(),
        room or PixelRoom(10**9),
        count=count,
        memory_bytes=memory_bytes,
        seconds=seconds,
        on_end=(Ends() if ends is None else ends).add,
        program=program,
        clock=clock,
    )
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def isolated() -> Iterator[IsolatedDecoder]:
    with decoder(count=2) as made:
        yield made


def bad(name: str) -> bytes:
    """Return an image with which `tests.bad_decoder` does what the name says."""
    return GOOD + b"\n" + name.encode()


def late() -> float:
    return time.perf_counter() + LONG


def seen(made: IsolatedDecoder | ThreadDecoder, body: bytes) -> object:
    """Return all that a network and a head see of an image, or its error."""
    try:
        frame, source = made.prepare(body, TARGET, late())
        shown = source.displayed()
    except FovealError as error:
        return type(error), str(error)
    return frame.tobytes(), source.geometry, shown.mode, shown.size, shown.tobytes()


def test_every_bundled_file_is_seen_as_by_a_thread(isolated: IsolatedDecoder) -> None:
    thread = ThreadDecoder(Limits(), PixelRoom(10**9))
    files = [path for path in CASES.rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        assert seen(isolated, path.read_bytes()) == seen(thread, path.read_bytes()), path.name


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_large_image_of_each_format_is_seen_as_by_a_thread(
    isolated: IsolatedDecoder, form: str
) -> None:
    image = Image.open(CASES / "cat.jpg").resize((1300, 1000))
    body = encode(image, form)
    assert seen(isolated, body) == seen(ThreadDecoder(Limits(), PixelRoom(10**9)), body)


def test_a_gif_whose_first_frame_is_larger_than_its_canvas_is_seen_as_by_a_thread(
    isolated: IsolatedDecoder,
) -> None:
    body = bytearray(encode(Image.open(CASES / "cat.jpg").resize((1300, 1000)), "GIF"))
    for canvas in ((1, 1), (99, 99), (1300, 2)):
        body[6:10] = struct.pack("<HH", *canvas)
        expected = seen(ThreadDecoder(Limits(), PixelRoom(10**9)), bytes(body))
        assert expected[3] == (1300, 1000)  # type: ignore[index]
        assert seen(isolated, bytes(body)) == expected


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_large_image_waits_for_room(form: str) -> None:
    room = PixelRoom(2_000_000)
    body = plain("red", (1500, 1000), form)
    with decoder(room=room) as made, room.hold(1_500_000, late()):
        made.prepare(GOOD, TARGET, late())
        with pytest.raises(DeadlineError, match="No memory"):
            made.prepare(body, TARGET, time.perf_counter() + 0.5)
        frame, _ = made.prepare(GOOD, TARGET, late())  # and no process is taken meanwhile
        assert frame.shape == (24, 16, 3)


def test_the_pixels_of_headers_are_counted_in_a_process_where_only_a_reader_knows_them(
    isolated: IsolatedDecoder,
) -> None:
    images = [plain("red", (30, 20), form) for form in ("TIFF", "BMP", "AVIF", "PNG")]
    found = isolated.announced([*images, b"no image"], late())
    assert [one.pixels for one in found] == [600] * 4 + [0]
    avif = announced(images[2]).work
    assert [one.work for one in found] == [1000, 600, avif, 600, 0]
    assert avif >= 10 * len(images[2])
    assert isolated.announced([b"no image\nsegfault", images[0]], late()) == [(0, 0), found[0]]
    tiles = tiled((160, 160), (16, 16), b"data")
    assert isolated.announced([tiles], late()) == [announced(tiles)] == [(160 * 160, 100 * 1000)]


def test_headers_are_not_read_after_the_deadline(isolated: IsolatedDecoder) -> None:
    images = [plain("red", (30, 20), form) for form in ("PNG", "TIFF")]
    with pytest.raises(DeadlineError):
        isolated.announced(images, time.perf_counter())


def test_an_image_is_sent_to_no_process_after_the_deadline(isolated: IsolatedDecoder) -> None:
    for image in (plain("red", (30, 20)), b"no image"):
        with pytest.raises(DeadlineError):
            isolated.prepare(image, TARGET, time.perf_counter())


def test_the_limit_of_an_image_holds_in_a_process() -> None:
    with decoder(limits=Limits(600)) as made:
        for form in ("PNG", "TIFF"):
            assert made.prepare(plain("red", (30, 20), form), TARGET, late())
            with pytest.raises(TooManyPixelsError, match="31×20 pixels are more than"):
                made.prepare(plain("red", (31, 20), form), TARGET, late())


def test_a_format_that_is_not_read_is_not_read_in_a_process_either() -> None:
    limits = Limits(formats=("PNG",), max_metadata_bytes=1000)
    body = encode(Image.new("RGB", (8, 6)), "PNG", icc_profile=bytes(range(256)) * 40)
    thread = ThreadDecoder(limits, PixelRoom(10**9))
    with decoder(limits=limits) as made:
        for image in (GOOD, plain("red", form="TIFF"), plain("red", form="JPEG"), body):
            assert seen(made, image) == seen(thread, image)
        assert made.announced([plain("red", form="TIFF")], late()) == [(0, 0)]


@pytest.mark.parametrize("way", ["segfault", "abort"])
def test_an_image_that_crashes_its_process_is_broken_and_the_process_is_replaced(way: str) -> None:
    ends = Ends()
    with decoder(ends) as made:
        with pytest.raises(BrokenImageError, match=r"crash \(SIG(SEGV|ABRT)\)"):
            made.prepare(bad(way), TARGET, late())
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3)
    assert ends == {"crash": 1}


def test_an_image_that_needs_too_much_memory_is_refused() -> None:
    ends = Ends()
    with decoder(ends, memory_bytes=200 << 20) as made:
        with pytest.raises(ImageError, match="more memory than the 200 MiB"):
            made.prepare(bad("allocate"), TARGET, late())
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3)
    assert ends == {"memory": 1}


def test_a_real_image_meets_the_limit_of_memory() -> None:
    body = encode(Image.new("RGB", (6000, 6000)), "PNG")
    with (
        decoder(memory_bytes=100 << 20) as made,
        pytest.raises(ImageError, match="more memory than the 100 MiB"),
    ):
        made.prepare(body, TARGET, late())
    with decoder(memory_bytes=1 << 30) as made:
        assert made.prepare(body, TARGET, late())[0].shape == (24, 16, 3)


def test_an_image_that_takes_too_long_is_refused_and_its_process_killed() -> None:
    ends = Ends()
    with decoder(ends, seconds=1.0) as made:
        with pytest.raises(ImageError, match="not decoded within the 1 s"):
            made.prepare(bad("sleep"), TARGET, late())
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3)
    assert ends == {"time": 1}


def test_a_large_image_that_takes_too_long_is_refused_and_its_process_goes_on() -> None:
    ends = Ends()
    with decoder(ends, seconds=0.05) as made:
        for _ in range(2):
            with pytest.raises(ImageError, match=r"not decoded within the 0\.05 s"):
                made.prepare(run_lengths((4400, 4000)), TARGET, late())
    assert not ends


def test_an_image_whose_deadline_passes_is_late() -> None:
    ends = Ends()
    with decoder(ends) as made:
        made.prepare(GOOD, TARGET, late())
        with pytest.raises(DeadlineError):
            made.prepare(bad("sleep"), TARGET, time.perf_counter() + 0.1)
    assert ends == {"time": 1}


def test_a_large_image_gives_up_at_its_deadline_and_its_process_goes_on() -> None:
    ends = Ends()
    body = run_lengths((4400, 4000))
    with decoder(ends) as made:
        made.prepare(GOOD, TARGET, late())
        with pytest.raises(DeadlineError):
            made.prepare(body, TARGET, time.perf_counter() + 0.05)
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3)
    assert not ends


def test_a_process_that_is_killed_from_outside_is_no_fault_of_its_image() -> None:
    ends = Ends()
    with decoder(ends) as made:
        with pytest.raises(UnavailableError, match="Try again") as caught:
            made.prepare(bad("killed"), TARGET, late())
        assert not isinstance(caught.value, DeadlineError)
    assert ends == {"killed": 1}


@pytest.mark.parametrize("deadline", [LONG, 0.5])
def test_a_process_that_is_stopped_from_outside_is_no_fault_of_its_image(deadline: float) -> None:
    ends = Ends()
    with decoder(ends, seconds=0.1) as made:
        made.prepare(GOOD, TARGET, late())
        (pid,) = made.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(UnavailableError, match="was stopped") as caught:
            made.prepare(GOOD, TARGET, time.perf_counter() + deadline)
        assert not isinstance(caught.value, DeadlineError)
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3), "another one decodes"
    assert ends == {"killed": 1}


def test_a_thread_waits_for_a_stopped_process_no_longer_than_a_moment() -> None:
    """It may be the only thread, and would wait for `FOVEAL_DECODE_SECONDS`. The second image fits into no socket."""
    ends = Ends()
    with decoder(ends, seconds=10 * LONG) as made:
        for image in (GOOD, GOOD + bytes(4 << 20)):
            made.prepare(GOOD, TARGET, late())
            (pid,) = made.pids
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(UnavailableError, match="was stopped"):
                made.prepare(image, TARGET, time.perf_counter() + 10 * LONG)
    assert ends == {"killed": 2}


def test_an_idle_process_that_was_killed_costs_no_image() -> None:
    ends = Ends()
    with decoder(ends) as made:
        made.prepare(GOOD, TARGET, late())
        (pid,) = made.pids
        os.kill(pid, signal.SIGKILL)
        while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            pass
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3)
    assert ends == {"killed": 1}


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("bug", "KeyError: 'a bug'"),
        ("huge", "a decoder answered"),
        ("large", "not allowed"),
        ("text", "an error of 1152921504606846976 bytes"),
        ("code", "images do not have"),
        ("count", "a decoder answered"),
    ],
)
def test_a_process_is_not_believed(way: str, message: str) -> None:
    ends = Ends()
    with decoder(ends) as made:
        with pytest.raises(BadReplyError, match=message):
            made.prepare(bad(way), TARGET, late())
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3)
    assert ends == {"reply": 1}


def test_a_process_is_not_believed_to_need_any_room() -> None:
    with decoder() as made, pytest.raises(BadReplyError, match="room for 1099511627776 pixels"):
        made.prepare(plain("red", form="TIFF") + b"\ncount", TARGET, late())


def test_a_reply_that_ends_in_its_middle_is_none() -> None:
    with decoder() as made:
        with pytest.raises(UnavailableError):
            made.prepare(bad("half"), TARGET, late())
        assert made.prepare(GOOD, TARGET, late())[0].shape == (24, 16, 3)


@pytest.mark.parametrize(("way", "message"), [("other", "now has"), ("note", "1099511627776")])
def test_an_image_that_is_another_one_the_second_time_is_not_drawn_on(
    way: str, message: str
) -> None:
    with decoder() as made:
        _, source = made.prepare(bad(way), TARGET, late())
        with pytest.raises(BadReplyError, match=message):
            source.displayed()


def test_an_image_keeps_its_color_profile_and_comment(isolated: IsolatedDecoder) -> None:
    body = encode(Image.new("RGB", (8, 6)), "JPEG", icc_profile=b"profile", comment=b"hello")
    _, source = isolated.prepare(body, TARGET, late())
    assert source.displayed().info == {"icc_profile": b"profile", "comment": b"hello"}


def test_a_process_opens_no_file_and_no_socket(
    isolated: IsolatedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isolated.prepare(bad("escape"), TARGET, late())[0].shape == (24, 16, 3)
    monkeypatch.setenv("FOVEAL_SSL_KEYFILE_PASSWORD", "secret")
    with decoder() as made:
        assert made.prepare(bad("escape"), TARGET, late())[0].shape == (24, 16, 3)


def test_neighbors_of_bad_images_get_what_they_would_get_alone() -> None:
    ends = Ends()
    harmful = [bad("segfault"), bad("allocate"), bad("killed")]
    good = [photograph("chelsea"), photograph("rocket"), plain("lime")]
    bodies = [body for pair in zip(harmful, good, strict=True) for body in pair] * 2
    with decoder(ends, count=2, memory_bytes=200 << 20) as made, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda body: seen(made, body), bodies))
    thread = ThreadDecoder(Limits(), PixelRoom(10**9))
    assert found[1::2] == [seen(thread, body) for body in good * 2]
    assert ends == {"crash": 2, "memory": 2, "killed": 2}


def test_no_more_processes_run_than_are_allowed() -> None:
    with decoder(count=2) as made, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: made.prepare(GOOD, TARGET, late()), range(50)))
        assert len(made.pids) <= 2
        pids = made.pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def prepare_often(made: IsolatedDecoder) -> None:
    while True:
        made.prepare(GOOD, TARGET, time.perf_counter() + 0.1)


def test_an_image_waits_for_a_free_process_until_its_deadline() -> None:
    with decoder() as made, ThreadPoolExecutor(1) as threads:
        made.prepare(GOOD, TARGET, late())
        hung = threads.submit(made.prepare, bad("sleep"), TARGET, time.perf_counter() + 3)
        with pytest.raises(DeadlineError, match="No decoder was free"):
            prepare_often(made)
        with pytest.raises(DeadlineError):
            hung.result()


def test_what_can_not_start_is_not_ready_and_says_why() -> None:
    with decoder(program="tests.there_is_none") as made:
        while made.not_ready() == ["the decoder processes start"]:
            pass
        assert "can not start: the decoder process ended with 1" in made.not_ready()[0]
        with pytest.raises(DeadlineError):
            made.prepare(GOOD, TARGET, time.perf_counter() + 0.05)


def test_a_closed_decoder_takes_no_image() -> None:
    with decoder() as made:
        made.prepare(GOOD, TARGET, late())
        assert made.not_ready() == []
    with pytest.raises(ShuttingDownError):
        made.prepare(GOOD, TARGET, late())


def test_what_is_drawn_on_can_be_written_to(isolated: IsolatedDecoder) -> None:
    _, source = isolated.prepare(photograph("rocket"), TARGET, late())
    drawn = source.drawable()
    drawn.paste("blue", (0, 0, 8, 6))
    assert np.asarray(drawn)[0, 0].tolist() == [0, 0, 255]


def test_prefix_codes_of_a_webp_take_room_besides_its_pixels() -> None:
    body = webp((b"VP8L", lossless(600, 600, 22500)))
    room = PixelRoom(10**9)
    with decoder(room=room, limits=Limits(max_pixels=400_000)) as made:
        frame, source = made.prepare(body, TARGET, time.perf_counter() + LONG)
        assert frame.max() > 0  # the bars of the letterbox
        assert source.held_pixels > 5_000_000
        room.fit(4_000_000, 4_000_000)
        with pytest.raises(TooManyPixelsError, match="memory of the service"):
            made.prepare(body, TARGET, time.perf_counter() + LONG)
