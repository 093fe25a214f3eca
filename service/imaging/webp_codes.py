"""A lossless WebP → what its groups of prefix codes take, which are built before its pixels: RFC 9649, section 3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

FEW_GROUPS = 1000
"""What has at most so many by its size or its bytes is not read: they take 12 MB."""
MOST_SUB_PIXELS, SUB_PIXEL_SHARE = 34_000, 100
"""So many pixels of the small images before the groups are read, or one for so many of the image. libwebp's encoder
writes fewer; where there are more, the file has as many groups as its size and its bytes allow."""
MOST_CHUNKS, QUICK_CHUNKS = 1000, 16
"""What has more before its pixels counts by its bytes alone; most files have one to six."""

COPY_PIXELS = 4
"""For how many of these pixels a copy counts: to pass over one takes so many times as long."""
_MOST_GROUPS = 1 << 16

_LEAST_GROUP_BITS = 20
"""Five codes of one symbol each."""
_SMALLEST_BLOCK = 2
"""The block of pixels with the same group has at least 1 << 2 of them a side."""
_GROUP_BYTES, _TABLE_ENTRIES, _ENTRY_BYTES = 560, 2954, 4
"""What libwebp holds for a group, without the entries for a color cache."""

_SIGNATURE = 0x2F
_PREDICTOR, _CROSS_COLOR, _GREEN, _PALETTE = range(4)
_LITERALS, _LENGTHS, _DISTANCES = 256, 24, 40
_HIGHEST = _LITERALS - 1
_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_REPEAT_LAST, _REPEAT_ZERO, _REPEAT_ZERO_LONG = 16, 17, 18
_REPEATS = {_REPEAT_LAST: (2, 3), _REPEAT_ZERO: (3, 3), _REPEAT_ZERO_LONG: (7, 11)}
"""The extra bits and the least count of a code of repeated lengths."""
_USUAL_LENGTH = 8
_NO_LITERAL = 255
_WINDOW_BYTES, _MOST_BITS = 40, 60
"""So many bytes are read at once, and so many bits has a pixel at most."""

_RIFF_HEADER, _CHUNK_HEADER, _FRAME_HEADER = 12, 8, 16
_LOSSLESS_ALPHA = 1
_ANIMATION = 0x02


class Codes(NamedTuple):
    """The groups of prefix codes of a still image, or of the first frame.

    Attributes:
        groups: how many; none of a lossy image.
        bytes: what its decoder holds for all of them, at most.
    """

    groups: int
    bytes: int


class Stream(NamedTuple):
    """A lossless image within a file.

    Attributes:
        width, height: of its pixels.
        place: of its first bit behind the size.
        end: of its last byte.
    """

    width: int
    height: int
    place: int
    end: int


class _BrokenCodesError(Exception):
    """A decoder gives up here, before it builds the groups."""


class _TooManyError(Exception):
    """The small images have more pixels than are read, or there are more chunks."""


_NONE = Codes(0, 0)
MOST_KNOWN = 4096
_known: dict[int, Codes] = {}
_MOST_CACHE_BITS = 11
MOST_BYTES = _MOST_GROUPS * (
    _GROUP_BYTES + (_TABLE_ENTRIES + (1 << _MOST_CACHE_BITS)) * _ENTRY_BYTES
)
"""What the decoder of an image holds for its groups, at most."""


def codes_of(body: bytes) -> Codes:
    """Return what the groups of a WebP take, after up to 5 milliseconds for an ordinary image of a million pixels.

    A file that was read shortly before is not read again: its work is asked for before its memory.
    """
    if not body.startswith(b"RIFF"):
        return _NONE
    key = hash(
        body
    )  # which Python keeps with the bytes, and of which no client can foresee anything
    found = _known.get(key)
    if found is None:
        found = _most_codes(body, _RIFF_HEADER, None)
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[key] = found
    return found


def most_groups(body: bytes) -> int:
    """Return how many groups a WebP has at most, by its size and its bytes, in a few microseconds."""
    streams = _chunk_streams(body, _RIFF_HEADER, len(body), None, QUICK_CHUNKS)
    try:
        return max((_bound(one, one.place) for one in streams), default=0)
    except _TooManyError:
        return _fitting(8 * len(body))


def frame_codes(chunks: bytes, size: tuple[int, int]) -> Codes:
    """Return what the groups of one frame of an animation take.

    Args:
        chunks: of the frame, behind its header.
        size: its width and its height.
    """
    return _most_codes(chunks, 0, size)


def _most_codes(body: bytes, place: int, frame: tuple[int, int] | None) -> Codes:
    try:
        streams = list(_chunk_streams(body, place, len(body), frame, MOST_CHUNKS))
    except _TooManyError:
        return _held(_fitting(8 * len(body)), 0)
    found = [_stream_codes(body, one) for one in streams]
    return max(found, key=lambda codes: codes.bytes, default=_NONE)


def _stream_codes(body: bytes, stream: Stream) -> Codes:
    """Return what the groups of one lossless image take, nothing where no decoder gets to them."""
    most = _bound(stream, stream.place)
    if most <= FEW_GROUPS:
        return _held(most, 0)
    try:
        return _read_codes(_Bits(body, stream.place, 8 * stream.end), stream)
    except _BrokenCodesError:
        return _NONE


def _chunk_streams(
    body: bytes, place: int, end: int, frame: tuple[int, int] | None, most: int
) -> Iterator[Stream]:
    """Yield the lossless images that are decoded of a row of chunks: the first opacity and the first image.

    A decoder reads no file that has more of them, and of an animation the first frame.

    Args:
        body: the file.
        place: of the first chunk.
        end: of the last one.
        frame: the width and the height of the frame that the chunks belong to; None: they are the file's.
        most: how many chunks are read.
    """
    is_animation, has_alpha, size = False, False, frame or (0, 0)
    for _ in range(most):
        start = place + _CHUNK_HEADER
        if start >= end:
            return
        kind = body[place : place + 4]
        stop = min(end, start + int.from_bytes(body[place + 4 : start], "little"))
        if kind == b"VP8X" and frame is None:
            is_animation = bool(body[start] & _ANIMATION)
            size = (1 + _small(body, start + 4), 1 + _small(body, start + 7))
        elif kind == b"VP8L" and body[start] == _SIGNATURE:
            sides = int.from_bytes(body[start + 1 : start + 5], "little")
            width, height = (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
            yield Stream(width, height, 8 * (start + 5), stop)
            return
        elif kind == b"ALPH" and not has_alpha:
            has_alpha = True
            if body[start] & 3 == _LOSSLESS_ALPHA:
                yield Stream(*size, 8 * (start + 1), stop)
        elif kind == b"VP8 ":
            return
        elif kind == b"ANMF" and is_animation:
            shown = (1 + _small(body, start + 6), 1 + _small(body, start + 9))
            yield from _chunk_streams(body, start + _FRAME_HEADER, stop, shown, most)
            return
        place = stop + (stop - start) % 2
    raise _TooManyError


def _small(data: bytes, at: int) -> int:
    """Return a number of 24 bits."""
    return int.from_bytes(data[at : at + 3], "little")


@dataclass(slots=True)
class _Bits:
    """Bits, the lowest of each byte first; `place` and `end` are counted in bits."""

    data: bytes
    place: int
    end: int

    def read(self, count: int) -> int:
        value = self.window() & (1 << count) - 1
        self.place += count
        if self.place > self.end:
            raise _BrokenCodesError
        return value

    def symbol(self, code: "_Code") -> int:
        found = code.table[self.window() & code.mask]
        self.place += found & 15
        if self.place > self.end:
            raise _BrokenCodesError
        return found >> 4

    def window(self) -> int:
        """Return the bits from here on, at least 57."""
        start = self.place >> 3
        return int.from_bytes(self.data[start : start + 8], "little") >> (self.place & 7)


@dataclass(frozen=True, slots=True)
class _Code:
    """A prefix code.

    Attributes:
        table: by the next bits, masked, a symbol in the high bits and how many bits it has in the lowest four.
        literals: by the same, only how many bits; of what is no literal pixel `_NO_LITERAL`.
        mask: of the bits.
        highest: the highest symbol that is no length and no cached color.
    """

    table: Sequence[int]
    literals: bytearray
    mask: int
    highest: int


def _read_codes(bits: _Bits, stream: Stream) -> Codes:
    width = stream.width
    left = max(MOST_SUB_PIXELS, width * stream.height // SUB_PIXEL_SHARE)
    try:
        seen = set[int]()
        while bits.read(1):
            kind = bits.read(2)
            if kind in seen:
                raise _BrokenCodesError
            seen.add(kind)
            if kind in {_PREDICTOR, _CROSS_COLOR}:
                across, down = _blocks(width, stream.height, 2 + bits.read(3))
                left = _read_image(bits, across * down, left)
            elif kind == _PALETTE:
                colors = 1 + bits.read(8)
                left = _read_image(bits, colors, left)
                width = _blocks(width, 1, _packing(colors))[0]
        cache = _cache_bits(bits)
        groups = 1
        if bits.read(1):
            bits.read(3)
            # No pixel is above the symbols that have a code, which an encoder gives to those alone that it uses.
            green, red, *_ = _read_image_codes(bits)
            groups = 1 + (red.highest << 8 | green.highest)
    except _TooManyError:
        return _held(_bound(stream, bits.place), 0)
    return _held(min(groups, _bound(stream, bits.place)), cache)


def _held(groups: int, cache: int) -> Codes:
    entries = _TABLE_ENTRIES + (1 << cache if cache else 0)
    return Codes(groups, groups * (_GROUP_BYTES + entries * _ENTRY_BYTES))


def _bound(stream: Stream, place: int) -> int:
    across, down = _blocks(stream.width, stream.height, _SMALLEST_BLOCK)
    return min(across * down, _fitting(8 * stream.end - place))


def _fitting(bits: int) -> int:
    """Return how many groups so many bits may have."""
    return min(_MOST_GROUPS, bits // _LEAST_GROUP_BITS)


def _blocks(width: int, height: int, bits: int) -> tuple[int, int]:
    return -(-width >> bits), -(-height >> bits)


def _packing(colors: int) -> int:
    """Return how many times the width is halved: pixels of few colors share a byte."""
    return next((bits for most, bits in ((2, 3), (4, 2), (16, 1)) if colors <= most), 0)


def _cache_bits(bits: _Bits) -> int:
    return bits.read(4) if bits.read(1) else 0


def _read_image(bits: _Bits, pixels: int, left: int) -> int:
    """Read a small image up to its end; return how many more pixels may be read."""
    if pixels > left:
        raise _TooManyError
    return left - pixels - COPY_PIXELS * _pass_over(bits, pixels, left, _read_image_codes(bits))


def _read_image_codes(bits: _Bits) -> list[_Code]:
    cache = _cache_bits(bits)
    cached = 1 << cache if cache else 0
    sizes = (_LITERALS + _LENGTHS + cached, _LITERALS, _LITERALS, _LITERALS, _DISTANCES)
    return [_read_code(bits, size) for size in sizes]


def _pass_over(bits: _Bits, pixels: int, left: int, codes: Sequence[_Code]) -> int:
    """Pass over pixels: 0.3 microseconds each, since all that counts is how many bits they have.

    Return how many copies were among them, which take longer.
    """
    green, *others, distances = codes
    data, place, end = bits.data, bits.place, bits.end
    table, lengths, mask = green.table, green.literals, green.mask
    rest = [(code.literals, code.mask) for code in others if code.mask]
    if not (mask or rest) and lengths[0] != _NO_LITERAL:
        return 0
    window = held = copies = 0
    while pixels > 0:
        if held < _MOST_BITS:
            if place > end:
                raise _BrokenCodesError
            start = place >> 3
            window = int.from_bytes(data[start : start + _WINDOW_BYTES], "little") >> (place & 7)
            held = 8 * _WINDOW_BYTES - 7
        used = lengths[window & mask]
        if used != _NO_LITERAL:
            for others_lengths, others_mask in rest:
                used += others_lengths[window >> used & others_mask]
            pixels -= 1
        else:
            copies += 1
            if copies * COPY_PIXELS > left:
                raise _TooManyError
            found = table[window & mask]
            bits.place = place + (found & 15)
            pixels -= _repeated(bits, found >> 4, distances)
            used = bits.place - place
        window >>= used
        held -= used
        place += used
    bits.place = place
    return copies


def _repeated(bits: _Bits, symbol: int, distances: _Code) -> int:
    """Return how many pixels are copied, and pass over from where; one is from the color cache."""
    if symbol >= _LITERALS + _LENGTHS:
        return 1
    length = _number(bits, symbol - _LITERALS)
    _number(bits, bits.symbol(distances))
    return length


def _number(bits: _Bits, prefix: int) -> int:
    """Return a length or a distance: a prefix and further bits."""
    if prefix < 4:
        return prefix + 1
    extra = (prefix - 2) >> 1
    return (2 + (prefix & 1) << extra) + bits.read(extra) + 1


def _read_code(bits: _Bits, symbols: int) -> _Code:
    lengths = [0] * max(symbols, _LITERALS)
    if bits.read(1):
        has_two = bits.read(1)
        lengths[bits.read(8 if bits.read(1) else 1)] = 1
        if has_two:
            lengths[bits.read(8)] = 1
        return _code(lengths[:symbols])
    stated = [0] * len(_LENGTH_ORDER)
    for place in _LENGTH_ORDER[: 4 + bits.read(4)]:
        stated[place] = bits.read(3)
    return _code(_read_lengths(bits, _code(stated), symbols))


def _read_lengths(bits: _Bits, code: _Code, symbols: int) -> list[int]:
    """Return how many bits each symbol has."""
    most = 2 + bits.read(2 + 2 * bits.read(3)) if bits.read(1) else symbols
    lengths: list[int] = []
    last = _USUAL_LENGTH
    while len(lengths) < symbols and most:
        most -= 1
        length = bits.symbol(code)
        if length < _REPEAT_LAST:
            lengths.append(length)
            last = length or last
            continue
        extra, least = _REPEATS[length]
        repeated = last if length == _REPEAT_LAST else 0
        lengths += [repeated] * (least + bits.read(extra))
    if len(lengths) > symbols:
        raise _BrokenCodesError
    return lengths


def _code(lengths: Sequence[int]) -> _Code:
    """Return a code whose symbols are in the order of their lengths, as each decoder builds it."""
    used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    if len(used) == 1:
        symbol = used[0][1]
        return _Code([symbol << 4], bytearray((_literal(0, symbol),)), 0, min(symbol, _HIGHEST))
    longest = used[-1][0] if used else 0
    size = 1 << longest
    if not used or sum(size >> length for length, _ in used) != size:
        raise _BrokenCodesError
    table, literals = [0] * size, bytearray(size)
    code, before = 0, used[0][0]
    for length, symbol in used:
        code <<= length - before
        first = int(f"{code:0{length}b}"[::-1], 2)
        count = size >> length
        table[first :: 1 << length] = [symbol << 4 | length] * count
        literals[first :: 1 << length] = bytes((_literal(length, symbol),)) * count
        code, before = code + 1, length
    highest = max((symbol for _, symbol in used if symbol < _LITERALS), default=0)
    return _Code(table, literals, size - 1, highest)


def _literal(length: int, symbol: int) -> int:
    return length if symbol < _LITERALS else _NO_LITERAL
