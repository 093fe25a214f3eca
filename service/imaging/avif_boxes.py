"""The bytes of an AVIF → its boxes, one after the other, and the numbers in them: ISO/IEC 14496-12, 4.2."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import BrokenImageError

MOST_ENTRIES = 32_768
"""Boxes and entries of tables that are looked at, all of a file together. A grid of 2,000 tiles has 20,000; to look at
so many takes a twentieth of a second."""
LEAST_ENTRY_BYTES = 2
"""Of a reference."""

Place = tuple[int, int]
"""Where something begins and ends."""


class UnreadableError(Exception):
    """The boxes hold no image that can be read. It stays within the readers of an AVIF."""


class Budget:
    """Counts what is looked at in a file."""

    def __init__(self) -> None:
        self._left = MOST_ENTRIES

    @property
    def taken(self) -> int:
        """How many were counted."""
        return MOST_ENTRIES - self._left

    def take(self, count: int = 1) -> int:
        """Count entries.

        Raises:
            BrokenImageError: there are more than any image has.
        """
        self._left -= count
        if self._left < 0:
            raise BrokenImageError(
                f"The AVIF has more than {MOST_ENTRIES} boxes and entries of tables. Encode it again."
            )
        return count


@dataclass(slots=True)
class Fields:
    """Numbers of a box, the highest byte first."""

    body: bytes
    place: int
    end: int

    def skip(self, count: int) -> None:
        """Go on behind so many bytes."""
        self.place += count
        if self.place > self.end:
            raise UnreadableError

    def read(self, size: int) -> int:
        """Return the number of the next bytes; of none it is 0."""
        start = self.place
        self.skip(size)
        return int.from_bytes(self.body[start : self.place])

    def head(self) -> tuple[int, int]:
        """Return the version and the flags."""
        word = self.read(4)
        return word >> 24, word & 0xFFFFFF


def boxes(body: bytes, place: Place, budget: Budget) -> Iterator[tuple[bytes, Place]]:
    """Yield the kinds of boxes beside each other, and where their content begins and ends."""
    at, end = place
    while at + 8 <= end:
        budget.take()
        size, kind = struct.unpack_from(">I4s", body, at)
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(body[start : start + 8]), start + 8
        stop = min(end, at + size) if size else end
        if stop < start:
            return
        yield kind, (start, stop)
        at = stop


def first_boxes(body: bytes, place: Place, budget: Budget) -> dict[bytes, Place]:
    """Return the content of the first box of each kind, in the order of the file."""
    found: dict[bytes, Place] = {}
    for kind, inside in boxes(body, place, budget):
        found.setdefault(kind, inside)
    return found
