"""Images a few at a time: taken from the sources in order, then read side by side."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from service.bounded_thread import BoundedThread
from service.bulk.item import Body, Item
from service.storage.begun import begun

HELD_BYTES = 8 << 20
"""A chunk of images that are held in memory already ends after so many bytes."""
TAKE_SECONDS = 0.5
"""A chunk ends so long after its first image, so that images that come slowly do not wait for many others."""

SIDE_BY_SIDE = 16
"""Images of another machine that are read at once, each on a thread and a connection of its own, for each chunk."""

Read = list[tuple[str, Body]]


class Chunks:
    """Takes items from an iterator, on a thread of its own that goes one chunk ahead; `take` gives the next ones.

    The iterator may block at any item, such as a list of paths that another program writes: what came before goes on.

    Args:
        items: the images.
        size: images in a chunk at most.
        seconds: a chunk ends so long after its first image.
    """

    def __init__(self, items: Iterator[Item], size: int, seconds: float = TAKE_SECONDS) -> None:
        self._items = items
        self._size = size
        self._seconds = seconds
        self._ready: deque[Item] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._has_begun = self._ended = self._closed = False
        self._error: BaseException | None = None

    def take(self) -> list[Item]:
        """Return the next items; none at the end. It may block; called by one thread at a time.

        Raises:
            Exception: what the iterator raises, once all items before are taken.
        """
        with self._changed:
            if not self._has_begun:
                self._has_begun = True
                BoundedThread(self._collect, "foveal-items").start_and_wait()
            self._changed.wait_for(lambda: self._ready or self._ended)
            self._changed.wait_for(lambda: self._is_full or self._ended, self._seconds)
            taken = [self._ready.popleft() for _ in range(min(self._size, len(self._ready)))]
            self._held = sum(item.held_bytes for item in self._ready)
            self._changed.notify_all()
            if not taken and self._error is not None:
                raise self._error
            return taken

    def close(self) -> None:
        """Take nothing further from the iterator."""
        with self._changed:
            self._closed = self._ended = True
            self._changed.notify_all()

    @property
    def _is_full(self) -> bool:
        return len(self._ready) >= self._size or self._held >= HELD_BYTES

    def _collect(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or not self._is_full)
                    if self._closed:
                        return
                    self._ready.append(item)
                    self._held += item.held_bytes
                    if len(self._ready) == 1 or self._is_full:
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  # whoever takes gets it
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


def read_some(items: Sequence[Item]) -> Read:
    """Read images from the first on until they have `HELD_BYTES`; at least one. It blocks.

    Images of another machine are read side by side, as many as have that size together, `SIDE_BY_SIDE` at most: else
    each waits for the way there and back.
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
    """Return how many images, from the first on, are on another machine and are read side by side."""
    size = 0
    for count, item in enumerate(items[:SIDE_BY_SIDE]):
        size += item.far_bytes
        if not item.far_bytes or size > HELD_BYTES:
            return count
    return min(len(items), SIDE_BY_SIDE)
