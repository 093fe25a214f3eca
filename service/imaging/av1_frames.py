"""An AV1 stream → how many pixels its frames have by its own headers, which a container does not have to repeat.

AV1 Bitstream & Decoding Process Specification, sections 5.3, 5.5 and 5.9.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from service.errors import BrokenImageError
from service.imaging.avif_boxes import Budget

MOST_FRAMES = 32
"""Of a stream, which shows one of them: a still image has one, and a layered one four."""
_REFERENCES, _REFERENCE_SHARE = 8, 3
"""A decoder keeps so many frames, each of which takes a third of what an image takes on its way to RGB."""
_SEQUENCE_STEPS, _FRAME_STEPS = 64, 4
"""What it takes to read a sequence header that no stream had before, or one of a frame."""

_SEQUENCE = 1
_FRAMES = frozenset({3, 6, 7})
"""Headers of frames, alone or with tiles; also those that repeat one, which decoders take for a first one."""
_HAS_SIZE, _HAS_EXTENSION = 0x02, 0x04
_KEY, _SWITCH = 0, 3
_EITHER = 2
"""Each frame says whether it has screen content, and whole motion vectors."""
_MOST_TIER_LEVEL = 7
_PROFESSIONAL = 2
"""The profile of 4:2:2, and of 12 bits."""
_SRGB = (1, 13, 0)
"""Primaries, transfer and matrix of colors that are not subsampled (5.5.2)."""
_HALF_SAMPLES = {(1, 1): 3, (1, 0): 4, (0, 0): 6}
"""Whether both sides, one or none of the colors' planes are halved → the samples of two pixels."""


class Frames(NamedTuple):
    """What a decoder of a stream allocates.

    Attributes:
        largest: for how many pixels its frames take memory: those of the largest one, and what it keeps of others.
        total: those of all that are decoded.
        units: how many it consists of.
        bytes: what the samples of these frames take, with the copies that a decoder makes of a frame.
        pixel_bytes: what the samples of a pixel take in one copy, in halves of a byte.
        size: of each of its frames; None where they differ, or may.
    """

    largest: int
    total: int
    units: int = 0
    bytes: int = 0
    pixel_bytes: int = 0
    size: tuple[int, int] | None = None


class _EndError(Exception):
    """The bits end."""


@dataclass(slots=True)
class _Bits:
    """Bits, the highest of each byte first."""

    data: bytes | memoryview
    place: int = 0

    def read(self, count: int) -> int:
        first, last = self.place >> 3, self.place + count + 7 >> 3
        if last > len(self.data):
            raise _EndError
        value = int.from_bytes(self.data[first:last]) >> (8 * last - self.place - count)
        self.place += count
        return value & (1 << count) - 1

    def read_long(self) -> int:
        """Read a number of as many bits as zeros before it (4.10.3); no decoder goes on behind 32 zeros."""
        for zeros in range(32):
            if self.read(1):
                return self.read(zeros)
        raise _EndError


class _Samples(NamedTuple):
    """What a pixel takes in one copy, in halves of a byte, and how many copies of a frame a decoder makes."""

    pixel_bytes: int
    copies: int


_NO_SAMPLES, _MOST_SAMPLES = _Samples(0, 1), _Samples(2 * max(_HALF_SAMPLES.values()), 3)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a sequence header says of frames: their size, and the most pixels with one of their own.

    `time_bits` is 0 where no frame states when it is shown, and `id_bits` where none has a number.
    """

    size: tuple[int, int] = (0, 0)
    own_pixels: int = 0
    is_still: bool = True
    time_bits: int = 0
    id_bits: int = 0
    screen: int = _EITHER
    whole_vectors: int = _EITHER
    samples: _Samples = _NO_SAMPLES

    @property
    def pixels(self) -> int:
        """How many pixels a frame has."""
        return self.size[0] * self.size[1]


class FrameReader:
    """Reads the streams of a file, which often have the same sequence header.

    Args:
        budget: counts what is done.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._sequences: dict[bytes, _Sequence | None] = {}

    def frames_of(self, stream: bytes | memoryview) -> Frames:
        """Return what the frames of a stream, of one item or sample, take; nothing of what is damaged.

        Raises:
            BrokenImageError: the streams have more units, or this one more frames, than any image.
            DeadlineError: from the check of the budget.
        """
        found, place, units = _Found(), 0, 0
        while place < len(stream):
            units += self._budget.take()
            head = stream[place]
            place += 2 if head & _HAS_EXTENSION else 1
            size = len(stream) - place
            if head & _HAS_SIZE:
                size, place = _leb128(stream, place)
            kind = head >> 3 & 15
            if kind == _SEQUENCE:
                found.start(self._sequence(bytes(stream[place : place + min(size, _HEAD_BYTES)])))
            elif kind in _FRAMES:
                self._budget.take(_FRAME_STEPS)
                with suppress(_EndError):
                    found.read_frame(_Bits(stream[place : place + min(size, _HEAD_BYTES)]))
            place += size
        return found.frames(units)

    def _sequence(self, unit: bytes) -> _Sequence | None:
        """Return what a sequence header says, None where it is damaged."""
        if unit not in self._sequences:
            self._budget.take(_SEQUENCE_STEPS)
            try:
                self._sequences[unit] = _read_sequence(_Bits(unit))
            except _EndError:
                self._sequences[unit] = None
        return self._sequences[unit]


@dataclass(slots=True)
class _Found:
    """What the units of a stream have said up to now."""

    sequence: _Sequence = field(default_factory=_Sequence)
    size: tuple[int, int] | None = None
    largest: int = 0
    total: int = 0
    count: int = 0
    pixel_bytes: int = 0
    copies: int = 1

    def frames(self, units: int) -> Frames:
        kept = max(0, min(self.count, _REFERENCES) - 1)
        held = self.largest + self.largest * kept // _REFERENCE_SHARE
        in_bytes = self.largest * (kept + self.copies) * self.pixel_bytes // 2
        return Frames(held, self.total, units, in_bytes, self.pixel_bytes, self.size)

    def start(self, sequence: _Sequence | None) -> None:
        if sequence is None:
            return
        is_first = not self.largest
        self.size = sequence.size if is_first or sequence.size == self.size else None
        self.sequence = sequence
        self.largest = max(self.largest, sequence.pixels)
        self.pixel_bytes = max(self.pixel_bytes, sequence.samples.pixel_bytes)
        self.copies = max(self.copies, sequence.samples.copies)

    def read_frame(self, unit: _Bits) -> None:
        if pixels := _frame_pixels(unit, self.sequence):
            self.largest, self.total = max(self.largest, pixels), self.total + pixels
            if pixels != self.sequence.pixels:
                self.size = None
            self.count += 1
            if self.count > MOST_FRAMES:
                raise BrokenImageError(
                    f"The AVIF has more than {MOST_FRAMES} frames before the one that is shown. Encode it again."
                )


_HEAD_BYTES = 512
"""Of a unit; a sequence header has at most 32 operating points, of 13 bytes each."""


def _leb128(stream: bytes | memoryview, place: int) -> tuple[int, int]:
    """Return a number (4.10.5), and the place behind it."""
    value = 0
    for count in range(8):
        byte = stream[place + count] if place + count < len(stream) else 0
        value |= (byte & 127) << 7 * count
        if not byte & 128:
            return value, place + count + 1
    return value, place + 8


def _read_sequence(bits: _Bits) -> _Sequence:
    profile = bits.read(3)
    bits.read(1)  # whether it is a still picture
    is_still = bool(bits.read(1))
    time_bits = 0
    if is_still:
        bits.read(5)
    else:
        time_bits = _read_operating_points(bits)
    width_bits, height_bits = 1 + bits.read(4), 1 + bits.read(4)
    size = 1 + bits.read(width_bits), 1 + bits.read(height_bits)
    if is_still:
        bits.read(3)  # tools
        return _Sequence(size, samples=_samples(bits, profile))
    id_bits = 0
    if bits.read(1):
        id_bits = 2 + bits.read(4)
        id_bits += 1 + bits.read(3)
    bits.read(7)  # tools
    has_order = bits.read(1)
    if has_order:
        bits.read(2)
    screen = _EITHER if bits.read(1) else bits.read(1)
    vectors = _EITHER
    if screen:
        vectors = _EITHER if bits.read(1) else bits.read(1)
    if has_order:
        bits.read(3)
    own = 1 << width_bits + height_bits
    samples = _samples(bits, profile)
    return _Sequence(size, own, False, time_bits, id_bits, screen, vectors, samples)  # noqa: FBT003


def _samples(bits: _Bits, profile: int) -> _Samples:
    """Return what the end of 5.5.1 and 5.5.2 say.

    Where a frame may be enlarged or get grain, a decoder holds it before and after that. What is cut short takes most.
    """
    try:
        return _read_samples(bits, profile)
    except _EndError:
        return _MOST_SAMPLES


def _read_samples(bits: _Bits, profile: int) -> _Samples:
    copies = 1 + bits.read(1)
    bits.read(2)  # filters
    is_deep = bits.read(1)
    if profile == _PROFESSIONAL and is_deep:
        is_deep += bits.read(1)
    is_gray = profile != 1 and bits.read(1)
    colors = (bits.read(8), bits.read(8), bits.read(8)) if bits.read(1) else None
    halved = (1, 1)
    if is_gray:
        bits.read(1)  # the range
    else:
        if colors == _SRGB:
            halved = (0, 0)
        else:
            bits.read(1)
            halved = _halved(bits, profile, is_twelve=is_deep > 1)
            if halved == (1, 1):
                bits.read(2)  # where the samples are
        bits.read(1)  # whether planes are quantized apart
    copies += bits.read(1)
    samples = 2 if is_gray else _HALF_SAMPLES[halved]
    return _Samples(samples * (2 if is_deep else 1), copies)


def _halved(bits: _Bits, profile: int, *, is_twelve: bool) -> tuple[int, int]:
    if profile == _PROFESSIONAL:
        if not is_twelve:
            return 1, 0
        across = bits.read(1)
        return across, bits.read(1) if across else 0
    return (0, 0) if profile == 1 else (1, 1)


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
