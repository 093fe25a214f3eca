"""A GIF's packets, rewritten so that FFmpeg starts on a clear canvas, as browsers do.

FFmpeg fills the canvas of a first image that is smaller, and each area that is disposed of, with the GIF's background
color. It does so only if there is a global color table; without one the canvas is clear. So each image that uses the
global table gets it as its own.
"""

import struct

_HEADER_BYTES = 13
_IMAGE_BYTES = 10


class ClearCanvas:
    """Rewrites the packets of one GIF, in order."""

    def __init__(self) -> None:
        self._table = b""

    def rewrite(self, data: bytes) -> bytes:
        """Return a packet whose image has a color table of its own; one that can not be parsed stays as it is."""
        at = 0
        head = b""
        if data[:4] == b"GIF8" and len(data) > _HEADER_BYTES:
            at, head = self._take_table(data)
        start = _image_start(data, at)
        if start is None or not self._table:
            return data
        flags = data[start + 9]
        if flags & 0x80:
            return head + data[at:]
        size = (len(self._table) // 3).bit_length() - 2
        own = data[start : start + 9] + bytes([flags & 0x78 | 0x80 | size]) + self._table
        return head + data[at:start] + own + data[start + _IMAGE_BYTES :]

    def _take_table(self, data: bytes) -> tuple[int, bytes]:
        """Keep the global table; return where the header ends, and the header without the table."""
        (flags,) = struct.unpack_from("B", data, 10)
        if not flags & 0x80:
            self._table = b""
            return _HEADER_BYTES, data[:_HEADER_BYTES]
        end = _HEADER_BYTES + 3 * (2 << (flags & 7))
        self._table = data[_HEADER_BYTES:end]
        return end, data[:10] + bytes([flags & 0x7F]) + data[11:_HEADER_BYTES]


def _image_start(data: bytes, at: int) -> int | None:
    """Return where the packet's image descriptor is, behind its extensions; None where there is none."""
    while at + _IMAGE_BYTES <= len(data):
        if data[at] == 0x2C:
            return at
        if data[at] != 0x21:
            return None
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return None
