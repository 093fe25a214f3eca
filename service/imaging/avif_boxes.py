"""The bytes of an AVIF → its boxes, one after the other, and the numbers in them: ISO/IEC 14496-12, 4.2."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import BrokenImageError
from service.imaging.deadline import GoOn, without_end

MOST_STEPS = 65_536
"""What is done for a file: a box, an entry of a table, a unit of AV1 and a picture are a step each, a header in a unit
some more. A grid of 2,000 tiles has 35,000; so many take about a tenth of a second."""
_STEPS_BETWEEN_CHECKS = 4096
MOST_PROPERTY_BYTES = 4096
"""Of a property that is no color profile; those of encoders have less than a hundred."""

Place = tuple[int, int]
"""Where something begins and ends."""


class UnreadableError(Exception):
    """The boxes hold no image that can be read. It stays within the readers of an AVIF."""


class Budget:
    """Counts all that is done to read a file: each turn of a loop over what the file says takes from it.

    Args:
        go_on: called every few thousand steps.
    """

    def __init__(self, go_on: GoOn = without_end) -> None:
        self._go_on = go_on
        self._left = MOST_STEPS
        self._next_check = MOST_STEPS - _STEPS_BETWEEN_CHECKS

    @property
    def taken(self) -> int:
        """How many steps were counted; not more than there are."""
        return MOST_STEPS - max(0, self._left)

    def take(self, count: int = 1) -> int:
        """Count steps, before they are done.

        Raises:
            BrokenImageError: there are more than any image has.
            DeadlineError: from the check.
        """
        self._left -= count
        if self._left < self._next_check:
            self._check()
        return count

    def _check(self) -> None:
        if self._left < 0:
            raise BrokenImageError(
                f"The AVIF has more than {MOST_STEPS} boxes, entries of tables and units of AV1. Encode it again."
            )
        self._next_check = max(0, self._left - _STEPS_BETWEEN_CHECKS)
        self._go_on()


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
