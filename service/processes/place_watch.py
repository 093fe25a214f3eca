"""A place elsewhere, from which models are fetched, is looked at again and again; it does not report what changes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from service.background import background
from service.errors import FovealError
from service.logs import LOGGER
from service.runtime.change import Change, ChangeReport

log = logging.getLogger(LOGGER)


@asynccontextmanager
async def looking(
    name: str,
    change: Callable[[Change], Awaitable[ChangeReport]],
    seconds: float,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Serve what changes at a place for the length of the block.

    Args:
        name: of the place.
        change: changes what is served.
        seconds: between two looks.
        sleep: waits.
    """
    async with background(_look(name, change, seconds, sleep)):
        yield


async def _look(
    name: str,
    change: Callable[[Change], Awaitable[ChangeReport]],
    seconds: float,
    sleep: Callable[[float], Awaitable[object]],
) -> None:
    log.info("looking at %s every %g s", name, seconds)
    refused: Mapping[str, str] = {}
    while True:
        await sleep(seconds)
        try:
            report = await change(Change(kind="reload"))
        except FovealError as error:
            log.error("%s was not looked at, and what is served goes on: %s", name, error)
            continue
        if report.loaded or report.removed or report.refused != refused:
            log.info("%s has changed: %s", name, report.words())
        refused = report.refused
