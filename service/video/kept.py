"""What a stream's header says that its decoder keeps: how many frames, and how large one is for a pixel."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.video.bits import Bits
from service.video.bitstream import units

MOST_FRAMES = 16
"""H.264 and HEVC refer to so many at most, and let as many wait for their turn."""
_MORE_FRAMES = 3
"""One that is decoded, one that is given out, and one that a damaged stream makes up."""
_DEEPEST = 6.0
"""Bytes for a pixel of 4:4:4 with more than eight bits."""
_MOST_HEADER_BYTES = 600

_SAMPLES = (1.0, 1.5, 2.0, 3.0)
"""Samples for a pixel, by chroma_format_idc: gray, 4:2:0, 4:2:2, 4:4:4."""
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles of H.264 whose headers say the format of a pixel; others have 4:2:0 of eight bits."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How many frames a decoder may hold at once, and the bytes that each takes for a pixel.

    `says_order`: whether the header says how many frames are reordered; else the frames alone do.
    """

    frames: int = 2 * MOST_FRAMES + _MORE_FRAMES
    pixel_bytes: float = _DEEPEST
    says_order: bool = False

    def covers(self, other: "Kept") -> bool:
        """Return whether another one takes no more."""
        return other.frames <= self.frames and other.pixel_bytes <= self.pixel_bytes


WORST = Kept()


def kept_of(codec: str, extradata: bytes) -> Kept | None:
    """Return what the header of a stream says; the worst where it does not; None for a codec without such headers."""
    if codec not in {"h264", "hevc"}:
        return None
    headers = list(_headers(codec, extradata))
    return _largest(headers) if headers else WORST


def kept_of_packet(codec: str, length: int, data: bytes) -> Kept | None:
    """Return what the headers in a packet say, None where it has none.

    Args:
        codec: `h264` or `hevc`.
        length: the size of the length before each unit, 0 where marks part them.
        data: the packet.
    """
    headers = [_read(codec, one) for one in units(data, length) if _is_header(codec, one)]
    return _largest(headers) if headers else None


def _largest(headers: list[Kept]) -> Kept:
    return Kept(
        max(one.frames for one in headers),
        max(one.pixel_bytes for one in headers),
        all(one.says_order for one in headers),
    )


def _headers(codec: str, extradata: bytes) -> Iterator[Kept]:
    if extradata[:1] != b"\x01":
        found: Iterator[bytes] = units(extradata, 0)
    elif codec == "h264":
        found = _of_avcc(extradata)
    else:
        found = _of_hvcc(extradata)
    return (_read(codec, one) for one in found if _is_header(codec, one))


def _of_avcc(data: bytes) -> Iterator[bytes]:
    """ISO/IEC 14496-15, section 5.3.3.1.2."""
    count, at = (data[5] & 31 if len(data) > 5 else 0), 6
    for _ in range(count):
        size = int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def _of_hvcc(data: bytes) -> Iterator[bytes]:
    """ISO/IEC 14496-15, section 8.3.3.1.2."""
    arrays, at = (data[22] if len(data) > 22 else 0), 23
    for _ in range(arrays):
        count = int.from_bytes(data[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            if at >= len(data):
                return
            size = int.from_bytes(data[at : at + 2], "big")
            yield data[at + 2 : at + 2 + size]
            at += 2 + size


def _is_header(codec: str, unit: bytes) -> bool:
    """Return whether a unit is a sequence parameter set, or the subset of one that FFmpeg reads as well."""
    if not unit:
        return False
    return unit[0] & 31 in {7, 15} if codec == "h264" else (unit[0] >> 1) & 63 == 33


def _read(codec: str, unit: bytes) -> Kept:
    data = unit[:_MOST_HEADER_BYTES].replace(b"\0\0\x03", b"\0\0")
    return _h264(Bits(data[1:])) if codec == "h264" else _hevc(Bits(data[2:]))


def _pixel_bytes(chroma: int, depth: int) -> float:
    return _SAMPLES[min(chroma, 3)] * (1 if depth <= 8 else 2)


def _h264(bits: Bits) -> Kept:
    """ISO/IEC 14496-10, section 7.3.2.1.1."""
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()
    pixel_bytes = _h264_format(bits) if profile in _WITH_CHROMA else 1.5
    bits.golomb()
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.take(1)
        _skip_numbers(bits, 2)
        _skip_numbers(bits, min(256, bits.golomb()))
    references = min(MOST_FRAMES, bits.golomb())
    bits.take(1)
    _skip_numbers(bits, 2)
    if not bits.take(1):
        bits.take(1)
    bits.take(1)
    if bits.take(1):
        _skip_numbers(bits, 4)
    reordered = _h264_reordered(bits) if bits.take(1) else None
    if bits.is_over:
        return WORST
    waiting = MOST_FRAMES if reordered is None else min(MOST_FRAMES, reordered)
    frames = max(1, references) + waiting + _MORE_FRAMES
    return Kept(frames, pixel_bytes, says_order=reordered is not None)


def _h264_format(bits: Bits) -> float:
    """Return the bytes of a pixel."""
    chroma = bits.golomb()
    if chroma == 3:
        bits.take(1)
    depth = 8 + max(bits.golomb(), bits.golomb())
    bits.take(1)
    if bits.take(1):
        _skip_scaling(bits, 12 if chroma == 3 else 8)
    return _pixel_bytes(chroma, depth)


def _skip_scaling(bits: Bits, count: int) -> None:
    for number in range(count):
        if not bits.take(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                code = bits.golomb()
                change = (code + 1) // 2 if code & 1 else -(code // 2)
                following = (last + change) % 256
            last = following or last


def _h264_reordered(bits: Bits) -> int | None:
    """Return how many frames are reordered by the usability information (annex E), None where it does not say it."""
    if bits.take(1) and bits.take(8) == 255:
        bits.take(32)
    if bits.take(1):
        bits.take(1)
    if bits.take(1) and bits.take(5) & 1:
        bits.take(24)
    if bits.take(1):
        _skip_numbers(bits, 2)
    if bits.take(1):
        bits.take(65)
    has_buffers = [_skip_buffer(bits) for _ in range(2)]
    bits.take(2 if any(has_buffers) else 1)
    if not bits.take(1):
        return None
    bits.take(1)
    _skip_numbers(bits, 4)
    reordered = bits.golomb()
    bits.golomb()
    return None if bits.is_over else reordered


def _skip_buffer(bits: Bits) -> bool:
    """Skip the parameters of a reference decoder, and return whether there were any (annex E.1.2)."""
    if not bits.take(1):
        return False
    count = 1 + bits.golomb()
    bits.take(8)
    for _ in range(min(32, count)):
        _skip_numbers(bits, 2)
        bits.take(1)
    bits.take(20)
    return True


def _skip_numbers(bits: Bits, count: int) -> None:
    for _ in range(count):
        bits.golomb()


def _hevc(bits: Bits) -> Kept:
    """ISO/IEC 23008-2, section 7.3.2.2.1. FFmpeg keeps 16 references whatever the header says."""
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    bits.take(88)
    bits.take(8)
    parts = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for has_profile, has_level in parts:
        bits.take(88 * has_profile + 8 * has_level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma == 3:
        bits.take(1)
    _skip_numbers(bits, 2)
    if bits.take(1):
        _skip_numbers(bits, 4)
    depth = 8 + max(bits.golomb(), bits.golomb())
    bits.golomb()
    reordered = 0
    for _ in range(layers + 1 if bits.take(1) else 1):
        bits.golomb()
        reordered = max(reordered, bits.golomb())
        bits.golomb()
    if bits.is_over:
        return WORST
    waiting = min(MOST_FRAMES, reordered)
    return Kept(MOST_FRAMES + waiting + _MORE_FRAMES, _pixel_bytes(chroma, depth), says_order=True)
