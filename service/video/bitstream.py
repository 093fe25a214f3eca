"""What the bits of a coded packet say: whether decoding can begin there, and whether the packet shows a frame.

Containers mark packets as key frames that are none to a decoder: H.264 that is refreshed line by line has only points
from which an image becomes whole by and by. They hold packets that show nothing: references of VP8 and VP9, gaps.
"""

from collections.abc import Callable, Iterator, Mapping

from service.video.coded import Coded
from service.video.mpeg4 import Mpeg4

Describe = Callable[[bytes], Coded]


def describer(codec: str, extradata: bytes | None) -> Describe:
    """Return what reads a key packet's bits; where `describes_every_packet`, also any other's.

    Args:
        codec: the codec's name in FFmpeg.
        extradata: the stream's header, which says how H.264 and HEVC are cut into units.
    """
    extra = extradata or b""
    length = length_size(codec, extra)
    if codec == "h264":
        return lambda data: _h264(data, length)
    if codec == "hevc":
        return lambda data: _hevc(data, length)
    if codec == "mpeg4":
        return Mpeg4(extra)
    return _CODECS.get(codec, _independent)


def length_size(codec: str, extradata: bytes) -> int:
    """Return the bytes of the length before each unit of H.264 or HEVC, 0 where marks part them."""
    at = 4 if codec == "h264" else 21
    return (extradata[at] & 3) + 1 if len(extradata) > at and extradata[0] == 1 else 0


def describes_every_packet(codec: str) -> bool:
    """Return whether packets that are no key frames must be read too. They cost microseconds each."""
    return codec in _CODECS or codec == "mpeg4"


def _independent(_: bytes) -> Coded:
    return Coded("closed")


def units(data: bytes, length: int) -> Iterator[bytes]:
    """Yield the units of H.264 or HEVC; `length` is the size of the length before each, 0 where marks part them."""
    if not length:
        yield from (unit for unit in data.split(b"\0\0\x01")[1:] if unit)
        return
    at = 0
    while at + length < len(data):
        size = int.from_bytes(data[at : at + length], "big")
        at += length
        if size:
            yield data[at : at + size]
        at += size


def _h264(data: bytes, length: int) -> Coded:
    """ISO/IEC 14496-10, tables 7-1 and D.1.8: an IDR picture, or a recovery point that is whole at once."""
    for unit in units(data, length):
        kind = unit[0] & 31
        if kind == 5:
            return Coded("closed")
        if kind == 6 and _recovers_at_once(unit[1:]):
            return Coded("open")
    return Coded("none")


def _recovers_at_once(message: bytes) -> bool:
    """Return whether supplemental information has a recovery point with recovery_frame_cnt 0, one bit of 1."""
    data = message.replace(b"\0\0\x03", b"\0\0")
    at = 0
    while at + 2 < len(data):
        fields = []
        for _ in range(2):
            value = 0
            while at < len(data) and data[at] == 255:
                value, at = value + 255, at + 1
            if at >= len(data):
                return False
            fields.append(value + data[at])
            at += 1
        kind, size = fields
        if kind == 6:
            return at < len(data) and data[at] >= 128
        at += size
    return False


def _hevc(data: bytes, length: int) -> Coded:
    """ISO/IEC 23008-2, table 7-1: IDR pictures, and CRA pictures, whose leading pictures need what came before."""
    for unit in units(data, length):
        kind = (unit[0] >> 1) & 63
        if kind in {19, 20}:
            return Coded("closed")
        if kind == 21:
            return Coded("open")
    return Coded("none")


def _vp8(data: bytes) -> Coded:
    """RFC 6386, section 9.1."""
    if not data:
        return Coded("none", None)
    return Coded("none" if data[0] & 1 else "closed", bool(data[0] >> 4 & 1))


def _vp9(data: bytes) -> Coded:
    """VP9 bitstream specification, section 6.2 and annex B: a packet is one frame, or several with an index."""
    frames = [_vp9_frame(frame) for frame in _vp9_frames(data)]
    if not frames or None in frames:
        return Coded("none", None)
    known = [frame for frame in frames if frame is not None]
    shown = sum(shows for _, shows in known)
    return Coded("closed" if known[0][0] else "none", bool(shown) if shown < 2 else None)


def _vp9_frames(data: bytes) -> Iterator[bytes]:
    mark = data[-1] if data else 0
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    index = 2 + count * width
    if mark & 0xE0 != 0xC0 or len(data) < index or data[-index] != mark:
        yield data
        return
    at = 0
    sizes = data[1 - index : -1]
    for number in range(count):
        size = int.from_bytes(sizes[number * width : (number + 1) * width], "little")
        if size:
            yield data[at : at + size]
        at += size


def _vp9_frame(data: bytes) -> tuple[bool, bool] | None:
    """Return whether a frame is a key frame and whether it is shown."""
    if not data or data[0] >> 6 != 2:
        return None
    bits = int.from_bytes(data[:2].ljust(2, b"\0"), "big")
    # The mark and the profile take four bits; profile 3 has one more.
    at = 11 if bits >> 12 & 3 == 3 else 12
    if bits >> (at - 1) & 1:
        return False, True
    return not bits >> (at - 2) & 1, bool(bits >> (at - 3) & 1)


def _av1(data: bytes) -> Coded:
    """AV1 bitstream specification, section 5.9.2: the first bits of the packet's frame headers."""
    headers = []
    at = 0
    while at < len(data):
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size, at = _leb128(data, at) if sized else (len(data) - at, at)
        if kind in {3, 6} and at < len(data):
            headers.append(data[at])
        at += size
    if not headers:
        return Coded("none", None)
    is_key = headers[0] >> 4 == 1  # not an existing frame, type 0, shown
    return Coded(
        "closed" if is_key else "none", any(head >> 7 or head >> 4 & 1 for head in headers)
    )


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = 0
    for shift in range(0, 56, 7):
        if at >= len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            break
    return value, at


def _mpeg2(data: bytes) -> Coded:
    """ISO/IEC 13818-2, section 6.2.3: the type of the packet's first picture."""
    start = data.find(b"\0\0\x01\0")
    if start < 0 or start + 5 >= len(data):
        return Coded("none", None)
    kind = data[start + 5] >> 3 & 7
    return Coded("open" if kind == 1 else "none", is_bidirectional=kind == 3)


_CODECS: Mapping[str, Describe] = {
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
    "mpeg2video": _mpeg2,
}
