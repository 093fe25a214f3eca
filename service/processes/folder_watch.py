"""The place of the models is watched, and what changes in it is served."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from service.background import background
from service.errors import ConfigurationError, FovealError
from service.logs import LOGGER
from service.runtime.change import Change, ChangeReport

try:
    import watchfiles
except ImportError:  # an option
    watchfiles = None  # type: ignore[assignment]

log = logging.getLogger(LOGGER)

QUIET_MS = 1000
"""Changes that follow each other sooner are taken together: a copy is many of them."""


def require_watchfiles() -> None:
    """Refuse to watch without the package that does it.

    Raises:
        ConfigurationError: it is not installed.
    """
    if watchfiles is None:
        raise ConfigurationError(
            "FOVEAL_WATCH is set, and the package watchfiles is not installed: pip install watchfiles."
        )


@asynccontextmanager
async def watching(
    root: Path, change: Callable[[Change], Awaitable[ChangeReport]]
) -> AsyncIterator[None]:
    """Serve what changes in a folder for the length of the block.

    Args:
        root: the folder of the models.
        change: changes what is served.
    """
    async with background(_watch(root, change)):
        yield


async def _watch(root: Path, change: Callable[[Change], Awaitable[ChangeReport]]) -> None:
    log.info("watching %s", root)
    async for _ in watchfiles.awatch(
        root, watch_filter=_is_visible, debounce=QUIET_MS, step=QUIET_MS // 4
    ):
        try:
            report = await change(Change(kind="reload"))
        except FovealError as error:
            log.error("the folder of the models has changed, and what is served has not: %s", error)
        else:
            _say("the folder of the models has changed", report)


@asynccontextmanager
async def looking(
    name: str,
    change: Callable[[Change], Awaitable[ChangeReport]],
    seconds: float,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Serve what changes at a place elsewhere, which tells nobody, for the length of the block.

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
        else:
            if report.loaded or report.removed or report.refused != refused:
                _say(f"{name} has changed", report)
            refused = report.refused


def _say(what: str, report: ChangeReport) -> None:
    log.info(
        "%s: loaded %s, removed %s, refused %s",
        what,
        *(
            ", ".join(found) or "nothing"
            for found in (report.loaded, report.removed, report.refused)
        ),
    )


def _is_visible(_: Any, path: str) -> bool:  # noqa: ANN401  # the kind of the change
    return not any(part.startswith(".incoming-") for part in Path(path).parts)
