"""Images a few at a time: taken from the sources in order, then read side by side."""

import time
from collections.abc import Callable, Iterator, Sequence

from service.bulk.item import Body, Item
from service.storage.begun import begun

HELD_BYTES = 8 << 20
"""A chunk of images that are held in memory already ends after so many bytes."""
TAKE_SECONDS = 0.5
"""A chunk ends after so long, so that images that come slowly do not wait for many others."""

Read = list[tuple[str, Body]]


class Chunks:
    """Takes items from an iterator; `take` is called by one thread at a time.

    Args:
        items: the images.
        size: images in a chunk at most.
        clock: seconds.
    """

    def __init__(
        self, items: Iterator[Item], size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._items = items
        self._size = size
        self._clock = clock

    def take(self) -> list[Item]:
        """Return the next items; none at the end. It may block."""
        taken: list[Item] = []
        held, until = 0, self._clock() + TAKE_SECONDS
        while len(taken) < self._size and held < HELD_BYTES:
            item = next(self._items, None)
            if item is None:
                break
            taken.append(item)
            held += item.held_bytes
            if self._clock() >= until:
                break
        return taken


def read_some(items: Sequence[Item]) -> Read:
    """Read images from the first on until they have `HELD_BYTES`; at least one. It blocks.

    Images of another machine are read side by side, as many as have that size together: else each waits for the way
    there and back.
    """
    together = _far(items)
    if together > 1:
        coming = [begun(item.read) for item in items[:together]]
        return [
            (item.name, one.result()) for item, one in zip(items[:together], coming, strict=True)
        ]
    found: Read = []
    held = 0
    for item in items:
        body = item.read()
        found.append((item.name, body))
        held += len(body) if isinstance(body, bytes) else 0
        if held >= HELD_BYTES:
            break
    return found


def _far(items: Sequence[Item]) -> int:
    """Return how many images, from the first on, are on another machine and small enough together."""
    size = 0
    for count, item in enumerate(items):
        size += item.far_bytes
        if not item.far_bytes or size > HELD_BYTES:
            return count
    return len(items)
