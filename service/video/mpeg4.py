"""What the bits of an MPEG-4 part 2 packet say: its frames' types, and which of them are coded at all."""

from service.video.bits import Bits
from service.video.coded import Coded


class Mpeg4:
    """ISO/IEC 14496-2, sections 6.2.3 and 6.2.5. Keeps what the stream's header and earlier packets say.

    An AVI may pack two frames into one packet; a later one, which is "not coded", then only takes the time of the
    second. So each packet has one frame's time, whichever packet holds the frame.
    """

    def __init__(self, header: bytes) -> None:
        self._time_bits = _time_bits(header)
        self._packed = 0
        """Frames that shared a packet, and whose own packet has not come yet."""

    def __call__(self, data: bytes) -> Coded:
        self._time_bits = _time_bits(data) or self._time_bits
        frames = data.split(b"\0\0\x01\xb6")[1:]
        if not frames or not self._time_bits:
            return Coded("none", None)
        coded = [_is_coded(frame, self._time_bits) for frame in frames]
        if None in coded or len(frames) > 2:
            return Coded("none", None)
        kind, shown = frames[0][0] >> 6, sum(map(bool, coded))
        is_bidirectional = kind == 2 or (len(frames) == 2 and frames[1][0] >> 6 == 2)
        if not shown:
            is_place = self._packed > 0
            self._packed -= is_place
            return Coded("none", is_place)
        self._packed += shown - 1
        alone = len(frames) == 1 and not self._packed
        return Coded("open" if not kind and alone else "none", is_bidirectional=is_bidirectional)


def frame_size(header: bytes) -> tuple[int, int]:
    """Return width and height of frames by the stream's header; zeros where it does not say them."""
    found = _layer(header)
    if found is None:
        return 0, 0
    shape, time_bits, bits = found
    if shape:
        return 0, 0
    bits.take(1)
    if bits.take(1):
        bits.take(time_bits)
    bits.take(1)
    width = bits.take(13)
    bits.take(1)
    height = bits.take(13)
    return (0, 0) if bits.is_over else (width, height)


def _time_bits(data: bytes) -> int:
    """Return how many bits a frame's time has, by the video object layer's header; 0 where there is none."""
    found = _layer(data)
    return 0 if found is None else found[1]


def _layer(data: bytes) -> tuple[int, int, Bits] | None:
    """Return of the video object layer its shape, 0 for a rectangle, how many bits a time has, and what follows."""
    found = data.find(b"\0\0\x01")
    while found >= 0 and found + 3 < len(data) and data[found + 3] >> 4 != 2:
        found = data.find(b"\0\0\x01", found + 3)
    if found < 0 or found + 3 >= len(data):
        return None
    bits = Bits(data[found + 4 : found + 48])
    bits.take(9)
    version = 1
    if bits.take(1):
        version = bits.take(4)
        bits.take(3)
    if bits.take(4) == 15:
        bits.take(16)
    if bits.take(1):
        bits.take(3)
        if bits.take(1):
            bits.take(79)
    shape = bits.take(2)
    if shape == 3 and version != 1:
        bits.take(4)
    bits.take(1)
    resolution = bits.take(16)
    if not resolution:
        return None
    return shape, max(1, (resolution - 1).bit_length()), bits


def _is_coded(frame: bytes, time_bits: int) -> bool | None:
    """Return whether a frame, from behind its start code, is coded; None where it is too short to say it."""
    bits = Bits(frame[:40])
    bits.take(2)
    while bits.take(1):
        pass
    bits.take(1 + time_bits + 1)
    is_coded = bits.take(1)
    return None if bits.is_over else bool(is_coded)
