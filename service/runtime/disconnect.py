"""Notices that a caller has disconnected while its answer is made."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

WATCH_AFTER_SECONDS = 0.05
"""When the watch begins: most answers are ready earlier, and a task for each of them would cost more than it saves."""


class DisconnectWatch:
    """Calls `on_disconnect` once `disconnected` returns, unless the watch was ended before.

    Both run on the event loop.

    Args:
        loop: the event loop of the caller.
        disconnected: a coroutine function that returns when the caller has disconnected.
        on_disconnect: called then, at most once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        disconnected: Callable[[], Coroutine[Any, Any, None]],
        on_disconnect: Callable[[], None],
    ) -> None:
        self._disconnected = disconnected
        self._on_disconnect = on_disconnect
        self._task: asyncio.Task[None] | None = None
        self._timer = loop.call_later(WATCH_AFTER_SECONDS, self._begin)

    def end(self) -> None:
        """Stop watching: `on_disconnect` is not called any more."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._disconnected())
        self._task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            self._on_disconnect()
