"""The workers agree again after one was replaced.

A worker that takes the place of a dead one reads the folder of the models as it is now: with versions that were copied
there and not yet asked for, or that were sent when the worker died. The others would go on without them, and the same
request would have two answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from service.errors import FovealError
from service.logs import LOGGER
from service.runtime.change import Change, ChangeReport

log = logging.getLogger(LOGGER)

RETRY_SECONDS = 5.0
SERVER_ERROR = 500


async def catch_up(
    loaded: asyncio.Event,
    change: Callable[[Change], Awaitable[ChangeReport]],
    retry_seconds: float = RETRY_SECONDS,
) -> None:
    """Let all workers serve what lies in the folder now; again where another one is not there yet.

    Args:
        loaded: set when the models of this worker are loaded.
        change: changes the models of all workers.
        retry_seconds: how long to wait before it is tried again.
    """
    await loaded.wait()
    while True:
        try:
            await change(Change(kind="reload"))
        except FovealError as error:
            if error.status < SERVER_ERROR:
                log.error(
                    "a worker was replaced, and the workers may serve different models until the next reload: %s",
                    error,
                )
                return
        else:
            return
        await asyncio.sleep(retry_seconds)
