"""An AV1 stream → how many pixels its frames have by its own headers, which a container does not have to repeat.

AV1 Bitstream & Decoding Process Specification, sections 5.3, 5.5 and 5.9.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from service.errors import BrokenImageError

MOST_UNITS = 100_000
"""Of all streams of a file. A still image has about three, and 4,096 more if each of its tiles has one of its own; to
look at so many takes a tenth of a second."""

MOST_FRAMES = 32
"""Of a stream, which shows one of them: a still image has one, and a layered one four."""
_REFERENCES, _REFERENCE_SHARE = 8, 3
"""A decoder keeps so many frames, each of which takes a third of what an image takes on its way to RGB."""

_SEQUENCE = 1
_FRAMES = frozenset({3, 6, 7})
"""Headers of frames, alone or with tiles; also those that repeat one, which decoders take for a first one."""
_HAS_SIZE, _HAS_EXTENSION = 0x02, 0x04
_KEY, _SWITCH = 0, 3
_EITHER = 2
"""Each frame says whether it has screen content, and whole motion vectors."""
_MOST_TIER_LEVEL = 7


class Frames(NamedTuple):
    """What a decoder of a stream allocates.

    Attributes:
        largest: for how many pixels its frames take memory: those of the largest one, and what it keeps of others.
        total: those of all that are decoded.
        units: how many it consists of.
    """

    largest: int
    total: int
    units: int = 0


class _EndError(Exception):
    """The bits end."""


@dataclass(slots=True)
class _Bits:
    """Bits, the highest of each byte first."""

    data: bytes
    place: int = 0

    def read(self, count: int) -> int:
        first, last = self.place >> 3, self.place + count + 7 >> 3
        if last > len(self.data):
            raise _EndError
        value = int.from_bytes(self.data[first:last]) >> (8 * last - self.place - count)
        self.place += count
        return value & (1 << count) - 1

    def read_long(self) -> int:
        """Read a number of as many bits as zeros before it (4.10.3)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return self.read(zeros) if zeros < 32 else 0


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a sequence header says of frames: the most pixels, with and without a size of their own.

    `time_bits` is 0 where no frame states when it is shown, and `id_bits` where none has a number.
    """

    pixels: int
    own_pixels: int = 0
    is_still: bool = True
    time_bits: int = 0
    id_bits: int = 0
    screen: int = _EITHER
    whole_vectors: int = _EITHER


def frames_of(stream: bytes, most: int = MOST_UNITS) -> Frames:
    """Return what the frames of a stream take, nothing of what is damaged.

    Args:
        stream: of one item or sample.
        most: how many units it may have.

    Raises:
        BrokenImageError: it has more units or frames than any image.
    """
    found, place = _Found(), 0
    for units in range(most + 1):
        if place >= len(stream):
            return Frames(found.held, found.total, units)
        head = stream[place]
        place += 2 if head & _HAS_EXTENSION else 1
        size = len(stream) - place
        if head & _HAS_SIZE:
            size, place = _leb128(stream, place)
        unit = stream[place : place + min(size, _HEAD_BYTES)]
        place += size
        with suppress(_EndError):
            found.read(head >> 3 & 15, _Bits(unit))
    raise BrokenImageError(f"The AVIF has more than {MOST_UNITS} units of AV1. Encode it again.")


@dataclass(slots=True)
class _Found:
    """What the units of a stream have said up to now."""

    sequence: _Sequence = field(default_factory=lambda: _Sequence(0))
    largest: int = 0
    total: int = 0
    frames: int = 0

    @property
    def held(self) -> int:
        kept = max(0, min(self.frames, _REFERENCES) - 1)
        return self.largest + self.largest * kept // _REFERENCE_SHARE

    def read(self, kind: int, unit: _Bits) -> None:
        if kind == _SEQUENCE:
            self.sequence = _read_sequence(unit)
            self.largest = max(self.largest, self.sequence.pixels)
        elif kind in _FRAMES and (pixels := _frame_pixels(unit, self.sequence)):
            self.largest, self.total = max(self.largest, pixels), self.total + pixels
            self.frames += 1
            if self.frames > MOST_FRAMES:
                raise BrokenImageError(
                    f"The AVIF has more than {MOST_FRAMES} frames before the one that is shown. Encode it again."
                )


_HEAD_BYTES = 512
"""Of a unit; a sequence header has at most 32 operating points, of 13 bytes each."""


def _leb128(stream: bytes, place: int) -> tuple[int, int]:
    """Return a number (4.10.5), and the place behind it."""
    value = 0
    for count in range(8):
        byte = stream[place + count] if place + count < len(stream) else 0
        value |= (byte & 127) << 7 * count
        if not byte & 128:
            return value, place + count + 1
    return value, place + 8


def _read_sequence(bits: _Bits) -> _Sequence:
    bits.read(4)  # the profile, and whether it is a still picture
    is_still = bool(bits.read(1))
    time_bits = 0
    if is_still:
        bits.read(5)
    else:
        time_bits = _read_operating_points(bits)
    width_bits, height_bits = 1 + bits.read(4), 1 + bits.read(4)
    pixels = (1 + bits.read(width_bits)) * (1 + bits.read(height_bits))
    if is_still:
        return _Sequence(pixels)
    id_bits = 0
    if bits.read(1):
        id_bits = 2 + bits.read(4)
        id_bits += 1 + bits.read(3)
    bits.read(7)  # tools
    if bits.read(1):  # an order of frames
        bits.read(2)
    screen = _EITHER if bits.read(1) else bits.read(1)
    vectors = _EITHER
    if screen:
        vectors = _EITHER if bits.read(1) else bits.read(1)
    own = 1 << width_bits + height_bits
    return _Sequence(pixels, own, False, time_bits, id_bits, screen, vectors)  # noqa: FBT003


def _read_operating_points(bits: _Bits) -> int:
    """Return how many bits say when a frame is shown."""
    delay_bits = time_bits = 0
    if bits.read(1):
        bits.read(64)
        has_equal_steps = bits.read(1)
        if has_equal_steps:
            bits.read_long()
        if bits.read(1):
            delay_bits = 1 + bits.read(5)
            bits.read(32 + 5)
            time_bits = 1 + bits.read(5)
            time_bits = 0 if has_equal_steps else time_bits
    has_display_delay = bits.read(1)
    for _ in range(1 + bits.read(5)):
        bits.read(12)
        if bits.read(5) > _MOST_TIER_LEVEL:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
    return time_bits


def _frame_pixels(bits: _Bits, sequence: _Sequence) -> int:
    """Return the pixels of a frame; one with a size of its own has as many as its bits allow."""
    if sequence.is_still:
        return sequence.pixels
    if bits.read(1):  # a frame from before is shown
        return 0
    kind, is_shown = bits.read(2), bits.read(1)
    if is_shown:
        bits.read(sequence.time_bits)
    else:
        bits.read(1)
    if kind != _SWITCH and not (kind == _KEY and is_shown):
        bits.read(1)
    bits.read(1)
    has_screen = bits.read(1) if sequence.screen == _EITHER else sequence.screen
    if has_screen and sequence.whole_vectors == _EITHER:
        bits.read(1)
    bits.read(sequence.id_bits)
    has_own_size = kind == _SWITCH or bits.read(1)
    return sequence.own_pixels if has_own_size else sequence.pixels
