"""Where heads and bodies end in the bytes of a connection, and how many bytes lie outside the bodies."""

HEAD_END = b"\r\n\r\n"
SLICE_BYTES = 4096
"""How much is parsed at once where the end of the request is not known."""


class Framing:
    """What is known of the request whose bytes come now.

    Its data is cut into slices that hold the end of one head at most, so that the bytes of a head are counted exactly
    and no request is parsed before it may wait.

    Attributes:
        in_body: the head has ended, the body has not.
        body_left: bytes of the body that have not come; None: its length is not announced.
        outside: bytes of this head, or in a body without a length those that are no body.
    """

    __slots__ = ("_tail", "body_left", "in_body", "outside")

    def __init__(self) -> None:
        self.in_body = False
        self.body_left: int | None = None
        self.outside = 0
        self._tail = b""  # the last bytes of a head that has not ended

    @property
    def counts(self) -> bool:
        """Whether what comes now may lie outside a body."""
        return not self.in_body or self.body_left is None

    def end_of_slice(self, data: bytes, start: int) -> int:
        """Return where to stop: behind the head or the body, or soon where that end is not here or not known."""
        if not self.in_body:
            if self.outside:
                for missing in (1, 2, 3):  # the end may have begun in the slice before
                    if self._tail.endswith(HEAD_END[:-missing]) and data.startswith(
                        HEAD_END[-missing:], start
                    ):
                        return start + missing
            found = data.find(HEAD_END, start, start + SLICE_BYTES)
            if found >= 0:
                return found + 4
        elif self.body_left is not None:
            return min(len(data), start + self.body_left)
        return min(len(data), start + SLICE_BYTES)

    def keep_tail(self, data: bytes | memoryview) -> None:
        """Remember the last bytes of a slice that has not ended its head."""
        if self.outside and not self.in_body:
            self._tail = (self._tail + bytes(data[-3:]))[-3:]

    def head_ended(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Note that the body begins whose length these headers announce."""
        self.in_body, self.outside = True, 0
        self.body_left = _announced_length(headers)

    def body_came(self, size: int) -> None:
        """Note that so many bytes were of the body."""
        if self.body_left is None:
            # The frame of a chunk may be as long as the chunk; only what it is longer is counted.
            self.outside = max(0, self.outside - 2 * size)
        else:
            self.body_left -= size

    def body_ended(self) -> None:
        """Note that the next head may begin."""
        self.in_body, self.outside = False, 0


def _announced_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Return the body's length; None for a chunked body, whose headers the parser has checked for both."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None
