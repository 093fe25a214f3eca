"""Groups of prefix codes: counted before libwebp builds them; each takes few bytes of the file, and kilobytes then."""

import struct
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.card import ImageInput
from service.errors import TooManyPixelsError
from service.imaging import webp_codes
from service.imaging.decode import Limits, open_image
from service.imaging.decoder import ThreadDecoder
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.room import PixelRoom
from service.imaging.webp_codes import (
    FEW_GROUPS,
    MOST_CHUNKS,
    codes_of,
    frame_codes,
    most_groups,
)
from tests.images import photograph
from tests.webps import extended, frame, lossless, row, stream, webp

GROUP_BYTES = 5_000
"""What libwebp was measured to take for a group at least."""
ALPHA, ANIMATION = 0x10, 0x02
ENOUGH = bytes(4000)
"""A file of so many bytes could have more than a few groups, so that it is read."""


def noisy(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return a photograph with noise, so that each transform and many groups pay off."""
    rng = np.random.default_rng(0)
    image = Image.open(BytesIO(photograph("rocket"))).resize((width, height)).convert(mode)
    pixels = np.asarray(image) + rng.normal(0, 4, np.asarray(image).shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, *, method: int = 4, lossless: bool = True) -> bytes:
    file = BytesIO()
    image.save(file, "WEBP", lossless=lossless, method=method, quality=90)
    return file.getvalue()


@pytest.mark.parametrize("groups", [1, 2, 256, 512, 4096])
def test_the_groups_that_have_codes_are_counted(groups: int) -> None:
    body = webp((b"VP8L", lossless(256, 256, groups) + ENOUGH))
    with Image.open(BytesIO(body)) as image:
        assert np.asarray(image).max() == 0

    assert codes_of(body).groups == groups


def test_a_file_that_was_just_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [webp((b"VP8L", lossless(256, 256, groups) + ENOUGH)) for groups in (2, 8)]
    assert [codes_of(body).groups for body in bodies] == [2, 8]
    monkeypatch.setattr(webp_codes, "_most_codes", None)
    assert [codes_of(body).groups for body in bodies] == [2, 8]
    with pytest.raises(TypeError):
        codes_of(webp((b"VP8L", lossless(256, 256, 4) + ENOUGH)))


def test_as_many_groups_as_there_can_be_are_counted() -> None:
    body = webp((b"VP8L", lossless(1024, 1024, 65536)))

    codes = codes_of(body)

    assert codes.groups == 65536
    assert codes.bytes >= 65536 * GROUP_BYTES
    assert len(body) < 300_000


@pytest.mark.parametrize("method", [0, 4, 6])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_file_of_the_usual_encoder_has_few_groups(mode: str, method: int) -> None:
    codes = codes_of(encoded(noisy(640, 480, mode), method=method))

    assert 1 <= codes.groups < FEW_GROUPS


def test_a_palette_makes_the_entropy_image_smaller() -> None:
    drawing = noisy(900, 700).quantize(4).convert("RGB")

    assert 1 <= codes_of(encoded(drawing, method=6)).groups < FEW_GROUPS


def test_a_lossy_image_has_no_groups_but_those_of_its_alpha() -> None:
    body = encoded(noisy(512, 512), lossless=False)
    assert codes_of(body) == (0, 0)
    lossy = body[20:]
    alpha = b"\x01" + stream(512, 512, 16384)

    hostile = webp(extended(512, 512, ALPHA), (b"ALPH", alpha), (b"VP8 ", lossy))

    with Image.open(BytesIO(hostile)) as image:
        assert image.convert("RGBA").getpixel((0, 0))
    assert codes_of(hostile).groups == 16384


def test_of_an_animation_the_first_frame_counts() -> None:
    few = (b"VP8L", lossless(512, 512, 1, block_bits=4))
    many = (b"VP8L", lossless(512, 512, 16384))
    head = (extended(512, 512, ANIMATION), (b"ANIM", bytes(6)))

    first = webp(*head, frame(512, 512, many), frame(512, 512, few))
    second = webp(*head, frame(512, 512, few), frame(512, 512, many))

    assert codes_of(first).groups == 16384
    assert codes_of(second).groups < FEW_GROUPS
    assert frame_codes(row(many), (512, 512)).groups == 16384


def test_a_transform_twice_is_no_image() -> None:
    sides = struct.pack("<I", 511 | 511 << 14)
    subtractions = int("101" * 1000, 2).to_bytes(375, "little")
    twice = b"\x2f" + sides + subtractions + ENOUGH
    assert codes_of(webp((b"VP8L", twice))) == (0, 0)


def test_small_images_of_many_copies_are_not_read() -> None:
    few = webp((b"VP8L", lossless(256, 256, 2, has_copies=True) + ENOUGH))
    many = webp((b"VP8L", lossless(520, 520, 2, has_copies=True) + ENOUGH))
    for body in (few, many):
        with Image.open(BytesIO(body)) as image:
            image.load()

    assert codes_of(few).groups == 2
    assert FEW_GROUPS < codes_of(many).groups <= most_groups(many)


def test_of_several_images_the_first_counts_which_is_decoded() -> None:
    few = (b"VP8L", lossless(512, 512, 2) + ENOUGH)
    many = (b"VP8L", lossless(512, 512, 16384))

    assert codes_of(webp(few, *[many] * 990)).groups == 2
    assert codes_of(webp(many, few)).groups == 16384
    with pytest.raises(OSError, match="decoder"):
        Image.open(BytesIO(webp(extended(512, 512, 0), few, many)))


def test_a_file_that_is_cut_anywhere_is_no_fault_of_the_reader() -> None:
    body = encoded(noisy(300, 200), method=6)

    for end in range(0, len(body), 997):
        assert codes_of(body[:end]).groups < FEW_GROUPS or end < 20_000


def test_an_image_behind_more_chunks_than_are_read_counts_by_its_bytes() -> None:
    image = (b"VP8L", lossless(512, 512, 16384))
    body = webp(extended(512, 512, 0), *[(b"note", b"")] * MOST_CHUNKS, image)
    with Image.open(BytesIO(body)) as shown:
        assert shown.convert("RGB").getpixel((0, 0)) == (0, 0, 0)

    assert codes_of(body).groups >= 16384
    assert most_groups(body) >= 16384


def test_frames_within_frames_are_none() -> None:
    inner = (b"VP8L", lossless(512, 512, 16384))
    for _ in range(2000):
        inner = (b"ANMF", bytes(16) + row(extended(512, 512, ANIMATION)) + row(inner))

    assert codes_of(webp(extended(512, 512, ANIMATION), inner)) == (0, 0)


def test_what_the_decoder_reads_the_reader_reads() -> None:
    rng = np.random.default_rng(1)
    body = np.frombuffer(encoded(noisy(160, 120), method=6), np.uint8)
    decoded = 0
    for _ in range(300):
        changed = body.copy()
        changed[rng.integers(20, 3000, 2)] = rng.integers(0, 256, 2)
        data = changed.tobytes()
        try:
            with Image.open(BytesIO(data)) as image:
                image.load()
        except PILLOW_FAULTS:
            continue
        decoded += 1
        assert codes_of(data).groups >= 1
    assert decoded > 0


def test_groups_take_room_and_what_never_fits_is_refused() -> None:
    body = webp((b"VP8L", lossless(600, 600, 22500)))
    opened = open_image(body, Limits())
    assert opened.pixels == 360_000
    assert opened.held_pixels > 22500 * GROUP_BYTES // 20
    room = PixelRoom(10**9)
    decoder = ThreadDecoder(Limits(), room)
    target = ImageInput(height=24, width=24, resize="letterbox")
    assert decoder.prepare(body, target, time.perf_counter() + 60)[0].max() == 0

    room.fit(6_000_000, 6_000_000)

    with pytest.raises(TooManyPixelsError, match="memory of the service"):
        decoder.prepare(body, target, time.perf_counter() + 60)
    assert decoder.prepare(encoded(noisy(600, 600)), target, time.perf_counter() + 60)[0].any()
