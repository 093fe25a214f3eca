"""Watching whether a caller is still there while its answer is made."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

WATCH_AFTER_SECONDS = 0.01
"""When a caller begins to be watched: most answers are there before a task for it would pay."""


class DisconnectWatch:
    """Calls `on_left` once `left` returns, unless it was ended before.

    Both run on the event loop; `left` is a coroutine function that returns when the caller is gone.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        left: Callable[[], Coroutine[Any, Any, None]],
        on_left: Callable[[], None],
    ) -> None:
        self._left = left
        self._on_left = on_left
        self._task: asyncio.Task[None] | None = None
        self._timer = loop.call_later(WATCH_AFTER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._left())
        self._task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            self._on_left()

    def end(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
