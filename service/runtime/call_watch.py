"""Watches over a call that waits for its answer: its deadline, and whether its caller has disconnected."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Disconnected = Callable[[], Coroutine[Any, Any, None]]

WATCH_AFTER_SECONDS = 0.05
"""When the watch for a caller that leaves begins: most answers are ready earlier, and a task for each of them would
cost more than it saves."""


class CallWatch:
    """Calls `on_deadline` when the time is up, and `on_disconnect` once the caller has disconnected.

    All of it runs on the event loop, by one timer at a time. Nothing is called after `end`.

    Args:
        loop: the event loop of the caller.
        seconds: until the deadline.
        on_deadline: called then.
        disconnected: a coroutine function that returns when the caller has disconnected; None: nobody can.
        on_disconnect: called then, at most once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        on_deadline: Callable[[], None],
        disconnected: Disconnected | None,
        on_disconnect: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._on_deadline = on_deadline
        self._on_disconnect = on_disconnect
        self._task: asyncio.Task[None] | None = None
        if disconnected is None or seconds <= WATCH_AFTER_SECONDS:
            self._timer = loop.call_later(seconds, on_deadline)
        else:
            self._timer = loop.call_later(
                WATCH_AFTER_SECONDS, self._watch, disconnected, seconds - WATCH_AFTER_SECONDS
            )

    def end(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _watch(self, disconnected: Disconnected, left: float) -> None:
        self._timer = self._loop.call_later(left, self._on_deadline)
        self._task = asyncio.create_task(disconnected())
        self._task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            self._on_disconnect()
