"""One model is loaded at a time; one that takes too long goes on beside those that follow."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from service.logs import LOGGER

log = logging.getLogger(LOGGER)

T = TypeVar("T")


async def in_turn(
    turn: asyncio.Lock,
    load: Callable[[], Coroutine[Any, Any, T]],
    *,
    seconds: float,
    name: object,
    drop: Callable[[T], Awaitable[object]] | None = None,
) -> T:
    """Return what a loading returns. It ends when the call is canceled.

    Args:
        turn: is held by whoever loads a model.
        load: begins when the turn has come.
        seconds: for how long it keeps others from their turn; then it goes on without it.
        name: of the model, for the log.
        drop: lets go of what was loaded in the moment in which the call was canceled.

    Raises:
        asyncio.CancelledError: the call was canceled.
        Exception: what `load` raises.
    """
    async with turn:
        loading = asyncio.create_task(load())
        try:
            done, _ = await asyncio.wait([loading], timeout=seconds)
        except BaseException:
            await _end(loading, drop)
            raise
    if done:
        return loading.result()
    log.warning(
        "%s has been loading for more than %g s; others are loaded meanwhile", name, seconds
    )
    try:
        return await asyncio.shield(loading)
    except BaseException:
        await _end(loading, drop)
        raise


async def _end(loading: "asyncio.Task[T]", drop: Callable[[T], Awaitable[object]] | None) -> None:
    loading.cancel()
    await asyncio.wait([loading])
    if not loading.cancelled() and loading.exception() is None and drop is not None:
        await drop(loading.result())
