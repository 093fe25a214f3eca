"""A source's bytes by their place: headers are read here and there, and a buffer at a time."""

from service.video.source import Source

BUFFER_BYTES = 1 << 16


class Window:
    """The bytes around the last place that was read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer, self._start = b"", 0

    def at(self, place: int, size: int) -> bytes:
        """Return the bytes at a place, fewer behind the end. Those that still arrive are waited for."""
        begin = place - self._start
        if not 0 <= begin <= len(self._buffer) - size:
            self._source.seek(place)
            self._start, self._buffer = place, self._source.read(max(size, BUFFER_BYTES))
            if len(self._buffer) < size:
                self._buffer += read_fully(self._source, size - len(self._buffer))
            begin = 0
        return self._buffer[begin : begin + size]


def read_fully(source: Source, size: int) -> bytes:
    """Return so many bytes, fewer behind the end. A file that still arrives may return fewer than there will be."""
    parts, left = [], size
    while left and (part := source.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
