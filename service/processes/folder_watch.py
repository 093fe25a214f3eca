"""The folder of the models is watched, and what changes in it is served."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from service.api.ingest.model_upload import DRAFT
from service.background import background
from service.errors import ConfigurationError, FovealError
from service.logs import LOGGER
from service.runtime.change import Change, ChangeReport
from service.runtime.first_load import MARK
from service.runtime.repository import entries_of

try:
    import watchfiles
except ImportError:  # an option
    watchfiles = None  # type: ignore[assignment]

log = logging.getLogger(LOGGER)

QUIET_MS = 1000
"""Changes that follow each other sooner are taken together: a copy is many of them."""
CHECK_MS = 5000
"""The kernel reports what changes in a folder, and not that another one takes its place."""
Identity = tuple[int, int]
"""The device and the inode of a folder."""
RETRY_SECONDS = 10.0
"""The kernel watches so many folders only, and the package no folder with a name in it that is no text."""


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
    root: Path,
    change: Callable[[Change], Awaitable[ChangeReport]],
    *,
    quiet_ms: int = QUIET_MS,
    check_ms: int = CHECK_MS,
    retry_seconds: float = RETRY_SECONDS,
) -> AsyncIterator[None]:
    """Serve what changes in a folder for the length of the block.

    Args:
        root: the folder of the models.
        change: changes what is served.
        quiet_ms: changes that follow each other sooner are taken together.
        check_ms: how long it may take until another folder at this path is noticed.
        retry_seconds: how often it is read where it can not be watched.
    """
    async with background(_watch(root, change, quiet_ms, check_ms, retry_seconds)):
        yield


async def _watch(
    root: Path,
    change: Callable[[Change], Awaitable[ChangeReport]],
    quiet_ms: int,
    check_ms: int,
    retry_seconds: float,
) -> None:
    log.info("watching %s", root)
    fails = missed = False  # missed: something may have changed that is not served
    while True:
        try:
            if fails:
                await asyncio.sleep(retry_seconds)
                await _serve(change, tells=False)
            watched = await asyncio.to_thread(_folders, root)
            async for changes in watchfiles.awatch(
                *watched,
                watch_filter=_is_visible,
                debounce=quiet_ms,
                step=max(1, quiet_ms // 4),
                rust_timeout=check_ms,
                yield_on_timeout=True,
                recursive=False,
            ):
                if await asyncio.to_thread(_identity_of, root) != watched[root]:
                    log.info("%s is another folder now", root)
                    break
                if changes or missed:
                    missed = not await _serve(change, tells=bool(changes))
                else:
                    fails = False
                if changes and await asyncio.to_thread(_folders, root) != watched:
                    break
        except Exception as error:  # noqa: BLE001  # without a watch, nobody would see what changes
            if not fails:
                log.error(
                    "the folder of the models can not be watched, and is read every %g s: %s",
                    retry_seconds,
                    _reason_of(error),
                )
            fails = True
        missed = True


def _folders(root: Path) -> dict[Path, Identity]:
    """Return the folders in which models lie, of the root, of each model and of each version, and which they are.

    Deeper ones are not watched: a link may lead to any number of them, and to begin takes the event loop's time.
    """
    found = {root: _identity_of(root)}
    models = entries_of(root)
    for folder in itertools.chain(models, *map(entries_of, models)):
        with contextlib.suppress(OSError):  # it is gone
            if folder.is_dir() and str(folder).isprintable():
                found[folder] = _identity_of(folder)
    return found


def _identity_of(folder: Path) -> Identity:
    """Return which folder is at this path: it may be renamed away, and a link may come to lead to another one."""
    found = folder.stat()
    return found.st_dev, found.st_ino


async def _serve(change: Callable[[Change], Awaitable[ChangeReport]], *, tells: bool) -> bool:
    """Serve what is in the folder now, and return whether that could be done.

    Args:
        change: changes what is served.
        tells: with a line in the log also where that changes nothing.
    """
    try:
        report = await change(Change(kind="reload"))
    except FovealError as error:
        if tells:
            log.error("the folder of the models has changed, and what is served has not: %s", error)
        return False
    if tells or report.loaded or report.removed:
        log.info("the folder of the models has changed: %s", report.words())
    return True


def _reason_of(error: BaseException) -> str:
    """Return what went wrong in the innermost: the package runs its thread in a group of tasks."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _is_visible(_: Any, path: str) -> bool:  # noqa: ANN401  # the kind of the change
    parts = Path(path).parts
    return parts[-1] != MARK and not any(part.startswith(DRAFT) for part in parts)
