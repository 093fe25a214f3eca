"""The deadline of the work on an image: whatever works strip by strip checks it between two strips."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from service.errors import DeadlineError

GoOn = Callable[[], None]
"""Called between two parts of the work on an image; raises `DeadlineError` where the rest is not wanted."""


def without_end() -> None:
    """There is no deadline."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time at which the work on an image is given up.

    Args:
        until: by the clock.
        clock: seconds that only grow.
    """

    until: float
    clock: Callable[[], float]

    def __call__(self) -> None:
        """Return while there is time.

        Raises:
            DeadlineError: there is none.
        """
        if self.clock() >= self.until:
            raise DeadlineError("The image was not decoded before the deadline.")


class CheckedBytes(BytesIO):
    """A file in memory that is read piece by piece, with a check before each piece.

    Args:
        body: the file.
        go_on: the check.
    """

    def __init__(self, body: bytes, go_on: GoOn) -> None:
        super().__init__(body)
        self._go_on = go_on

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next piece.

        Raises:
            DeadlineError: from the check.
        """
        self._go_on()
        return super().read(size)
