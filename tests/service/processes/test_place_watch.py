"""A place elsewhere is looked at again and again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.errors import StorageUnavailableError
from service.processes.place_watch import looking
from service.runtime.change import Change, ChangeReport

pytestmark = pytest.mark.anyio

NOTHING = ChangeReport(loaded=[], removed=[], refused={}, drained=True)
REFUSED = NOTHING.model_copy(update={"refused": {"colors:2": "it is broken"}})
LOADED = NOTHING.model_copy(update={"loaded": ["colors:3"]})


async def look_at(
    found: list[ChangeReport | StorageUnavailableError],
) -> tuple[list[Change], list[float]]:
    """Look until all of this was found; return the changes that were made, and the waits before them."""
    changes: list[Change] = []
    waits: list[float] = []
    seen = asyncio.Event()

    async def change(wanted: Change) -> ChangeReport:
        changes.append(wanted)
        outcome = found.pop(0)
        if isinstance(outcome, StorageUnavailableError):
            raise outcome
        return outcome

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if not found:
            seen.set()
            await asyncio.Event().wait()

    waiting: Callable[[float], Awaitable[object]] = sleep
    async with looking("s3://bucket", change, 60, waiting):
        await seen.wait()
    return changes, waits


async def test_what_changes_there_is_served_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "foveal")
    changes, waits = await look_at([NOTHING, REFUSED, REFUSED, LOADED])
    assert {one.kind for one in changes} == {"reload"}
    assert waits == [60] * 5
    said = [one for one in caplog.messages if "has changed" in one]
    assert said == [
        "s3://bucket has changed: loaded nothing, removed nothing, refused colors:2",
        "s3://bucket has changed: loaded colors:3, removed nothing, refused nothing",
    ]


async def test_a_place_that_can_not_be_reached_is_looked_at_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes, _ = await look_at([StorageUnavailableError("it does not answer"), LOADED])
    assert len(changes) == 2
    assert "what is served goes on: it does not answer" in caplog.text
