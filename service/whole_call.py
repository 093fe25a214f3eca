"""Calls that must have returned before anything else uses what they use, such as an encoder."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def whole_call(function: Callable[..., T], *args: object) -> T:
    """Return what a blocking function returns, from a thread.

    `asyncio.to_thread` lets its caller go on when it is canceled, while the thread still runs. This waits for the
    thread first, and is canceled then.

    Args:
        function: what to call.
        args: its arguments.

    Raises:
        asyncio.CancelledError: the call was canceled; the function has returned.
        Exception: what the function raises.
    """
    running = asyncio.get_running_loop().run_in_executor(None, function, *args)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # Not asyncio.wait alone: whoever cancels may do so again.
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue
        if not running.cancelled():
            running.exception()  # seen: it would be logged otherwise
        raise
