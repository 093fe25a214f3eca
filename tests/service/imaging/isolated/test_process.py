"""What a decoder process answers, byte by byte, over a pair of sockets and without a process."""

import json
import math
import socket
import struct
from collections.abc import Iterator

import pytest
from PIL import Image

from service.card import ImageInput
from service.errors import BrokenImageError, DeadlineError
from service.imaging.isolated.messages import MOST_TEXT, Request
from service.imaging.isolated.process import STRIP_BYTES, Answer, Parts, answer, serve
from tests.images import encode, plain

READY = b"\x01" + bytes(16)
LATE = b"\x06" + bytes(16)
FRAME, IMAGE, ANNOUNCED = 1, 2, 3  # as `Kind` says, by hand
PIXELS, COUNT, REFUSED, FAILED = 2, 3, 4, 5
ALL = json.dumps([64_000_000, 1 << 20, ["PNG", "JPEG", "TIFF"]]).encode()
TARGET = b'{"height": 6, "width": 8, "resize": "stretch"}'
RED = b"\xff\0\0"


def sent(
    kind: int, body: bytes, *, target: bytes = b"", granted: int = 0, limits: bytes = ALL
) -> bytes:
    """Return a request: one byte, u64, f64, u32, u32, u64, all little-endian, and three texts behind."""
    head = struct.pack("<B", kind) + struct.pack("<Q", granted) + struct.pack("<d", math.inf)
    lengths = struct.pack("<II", len(limits), len(target)) + struct.pack("<Q", len(body))
    return head + lengths + limits + target + body


def reply(kind: int, first: int, second: int = 0) -> bytes:
    return bytes([kind]) + first.to_bytes(8, "little") + second.to_bytes(8, "little")


def served(requests: bytes, how: Answer = answer) -> bytes:
    """Return all that is answered to these bytes until the service closes its side."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            ours.sendall(requests)
            ours.shutdown(socket.SHUT_WR)
            serve(theirs, how)
        return b"".join(iter(lambda: ours.recv(1 << 16), b""))


def test_nothing_but_readiness_is_answered_to_nothing() -> None:
    assert served(b"") == READY


def test_a_request_that_is_cut_in_its_head_is_none() -> None:
    assert served(sent(ANNOUNCED, plain("red"))[:32]) == READY


def test_one_request_is_answered_after_the_other() -> None:
    one = sent(ANNOUNCED, plain("red", (16, 12)))
    other = sent(ANNOUNCED, plain("red", (5, 3)))
    expected = reply(3, 192, 192) + reply(3, 15, 15) + reply(3, 192, 192)
    assert served(one + other + one) == READY + expected


def test_a_frame_has_the_size_of_its_target_and_the_reply_that_of_the_image() -> None:
    got = served(sent(FRAME, plain("red", (16, 12)), target=TARGET))
    assert got == READY + reply(PIXELS, 16, 12) + RED * 48


def test_an_image_comes_upright_with_its_notes_in_front() -> None:
    stored = Image.new("RGB", (3, 2), "red")
    stored.putpixel((0, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # its first row is the right side: EXIF, tag Orientation
    body = encode(stored, "TIFF", exif=exif, icc_profile=b"profile")
    got = served(sent(IMAGE, body))
    notes = struct.pack("<QQ", 7, 0) + b"profile"
    rows = RED + b"\0\0\xff" + RED * 4
    assert got == READY + reply(PIXELS, 2, 3) + notes + rows


@pytest.mark.parametrize(
    ("size", "granted", "decoded"),
    [
        ((1000, 1000), 0, True),  # a million pixels need no room
        ((1000, 1001), 0, False),
        ((1000, 1001), 1_000_999, False),
        ((1000, 1001), 1_001_000, True),
    ],
)
def test_a_large_image_is_only_counted_unless_its_pixels_are_granted(
    size: tuple[int, int],
    granted: int,
    decoded: bool,  # noqa: FBT001
) -> None:
    got = served(sent(FRAME, plain("red", size), target=TARGET, granted=granted))
    if decoded:
        assert got == READY + reply(PIXELS, *size) + RED * 48
    else:
        assert got == READY + reply(COUNT, 1_001_000)


def test_a_whole_image_is_sent_in_strips() -> None:
    width, height = 2048, 1400  # 8.6 MB
    request = Request(IMAGE, plain("red", (width, height)), b"", 0, ALL)  # type: ignore[arg-type]
    head, notes, *strips = answer(request)
    assert (head, notes) == (reply(PIXELS, width, height), bytes(16))
    assert len(strips) == 3
    assert max(map(len, strips)) <= STRIP_BYTES
    assert b"".join(strips) == RED * (width * height)


@pytest.mark.parametrize(
    ("body", "limits", "code"),
    [
        (b"no image", ALL, "unsupported_image"),
        (plain("red")[:-30], ALL, "broken_image"),
        (plain("red"), b'[191, 1048576, ["PNG"]]', "too_many_pixels"),
        (plain("red"), b'[192, 1048576, ["JPEG"]]', "unsupported_image"),
    ],
)
def test_a_bad_image_is_refused_with_its_code_and_the_next_is_read(
    body: bytes, limits: bytes, code: str
) -> None:
    got = served(sent(IMAGE, body, limits=limits) + sent(ANNOUNCED, plain("red")))
    length = int.from_bytes(got[18:26], "little")
    text = got[34 : 34 + length]
    assert got[: len(READY)] == READY
    assert got[17:34] == reply(REFUSED, length)
    assert json.loads(text)[0] == code
    assert got[34 + length :] == reply(COUNT, 192, 192)


def failing(error: Exception, *begun: bytes) -> Answer:
    def fail(_: Request) -> Parts:
        yield from begun
        raise error

    return fail


def test_an_image_whose_time_is_over_is_late() -> None:
    assert served(sent(IMAGE, b"image"), failing(DeadlineError("late"))) == READY + LATE


def test_a_fault_of_the_process_is_told_with_its_last_lines() -> None:
    got = served(sent(IMAGE, b"image"), failing(KeyError("x" * MOST_TEXT + " end")))
    assert got[17:34] == reply(FAILED, MOST_TEXT)
    assert len(got) == 34 + MOST_TEXT
    assert got.endswith(b"x end'\n")


def test_a_reply_that_has_begun_does_not_go_on_as_another() -> None:
    with pytest.raises(BrokenImageError):
        served(sent(IMAGE, b"image"), failing(BrokenImageError("cut"), reply(PIXELS, 1, 1)))


def test_a_request_reaches_its_answer_whole() -> None:
    seen: list[Request] = []

    def note(request: Request) -> Iterator[bytes]:
        seen.append(request)
        yield b"."

    assert served(sent(FRAME, b"image", target=TARGET, granted=7), note) == READY + b"."
    assert seen == [Request(FRAME, b"image", TARGET, 7, ALL, math.inf)]  # type: ignore[arg-type]
    assert ImageInput.model_validate_json(seen[0].target).height == 6
