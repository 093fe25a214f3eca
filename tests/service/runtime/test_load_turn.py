"""Loadings that end, fail, take too long and are canceled, one after the other."""

import asyncio
import logging

import pytest

from service.runtime.load_turn import in_turn

pytestmark = pytest.mark.anyio


class Loading:
    """Returns its name when its gate is open, or raises what is in it."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error = name, error
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.canceled = False

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.canceled = True
            raise
        if self.error is not None:
            raise self.error
        return self.name


async def test_one_begins_when_the_one_before_has_ended() -> None:
    turn, first, second = asyncio.Lock(), Loading("a"), Loading("b")
    running = [
        asyncio.create_task(in_turn(turn, one, seconds=60, name=one.name))
        for one in (first, second)
    ]
    await first.begun.wait()
    second.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.begun.is_set()
    first.gate.set()
    assert await asyncio.gather(*running) == ["a", "b"]


async def test_one_that_takes_too_long_lets_the_next_begin_and_still_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turn, first, second = asyncio.Lock(), Loading("a"), Loading("b")
    second.gate.set()
    late = asyncio.create_task(in_turn(turn, first, seconds=0.01, name="colors version 2"))
    await first.begun.wait()
    assert await in_turn(turn, second, seconds=60, name="b") == "b"
    assert not late.done()
    first.gate.set()
    assert await late == "a"
    (record,) = (one for one in caplog.records if one.levelno == logging.WARNING)
    assert record.getMessage().startswith("colors version 2 has been loading for more than 0.01 s")


@pytest.mark.parametrize("seconds", [60, 0.01])
async def test_one_that_fails_raises_its_error_and_frees_the_turn(seconds: float) -> None:
    turn, failing = asyncio.Lock(), Loading("a", ValueError("damaged"))
    running = asyncio.create_task(in_turn(turn, failing, seconds=seconds, name="a"))
    await failing.begun.wait()
    while turn.locked() and seconds < 1:
        await asyncio.sleep(0.001)
    failing.gate.set()
    with pytest.raises(ValueError, match="damaged"):
        await running
    assert not turn.locked()


@pytest.mark.parametrize("seconds", [60, 0.01])
async def test_one_that_is_canceled_ends_before_its_caller(seconds: float) -> None:
    turn, held = asyncio.Lock(), Loading("a")
    running = asyncio.create_task(in_turn(turn, held, seconds=seconds, name="a"))
    await held.begun.wait()
    while turn.locked() and seconds < 1:
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert held.canceled
    assert not turn.locked()


async def test_what_was_loaded_in_the_moment_of_the_cancel_is_let_go() -> None:
    turn, dropped = asyncio.Lock(), list[str]()

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "loaded"
        return ""

    async def drop(one: str) -> None:
        dropped.append(one)

    running = asyncio.create_task(in_turn(turn, stubborn, seconds=60, name="a", drop=drop))
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert dropped == ["loaded"]
