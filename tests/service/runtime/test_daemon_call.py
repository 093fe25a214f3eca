import asyncio
import threading

import pytest

from service.bounded_thread import NO_THREAD, BoundedThread
from service.runtime.daemon_call import daemon_call

pytestmark = pytest.mark.anyio


async def test_it_returns_what_the_function_returns_from_a_daemon_thread() -> None:
    name, daemon = await daemon_call(
        lambda: (threading.current_thread().name, threading.current_thread().daemon), "loader"
    )
    assert (name, daemon) == ("loader", True)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ValueError("no"), ValueError),
        (SystemExit(), RuntimeError),
        (KeyboardInterrupt(), RuntimeError),
        (StopIteration(), RuntimeError),
    ],
)
async def test_it_raises_what_the_function_raises_and_no_loop_ends_by_it(
    raised: BaseException, expected: type[Exception]
) -> None:
    def fail() -> None:
        raise raised

    with pytest.raises(expected):
        await daemon_call(fail, "loader")


async def test_a_canceled_call_returns_at_once_and_its_result_is_dropped() -> None:
    entered, gate, left = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert gate.wait(10)
        left.set()

    call = asyncio.create_task(daemon_call(hold, "loader"))
    await asyncio.to_thread(entered.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not left.is_set()
    gate.set()
    await asyncio.to_thread(left.wait, 10)


def test_a_call_that_ends_behind_its_loop_hurts_nobody() -> None:
    entered, gate = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert gate.wait(10)

    async def leave() -> None:
        call = asyncio.create_task(daemon_call(hold, "late-loader"))
        await asyncio.to_thread(entered.wait, 10)
        call.cancel()

    asyncio.run(leave())
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "late-loader":
            thread.join(10)
            assert not thread.is_alive()


async def test_where_its_thread_does_not_begin_it_fails_in_time() -> None:
    given: list[BoundedThread] = []
    called: list[int] = []
    with pytest.raises(RuntimeError, match=NO_THREAD):
        await daemon_call(
            lambda: called.append(1), "loader", start_thread=given.append, start_seconds=0.01
        )
    (late,) = given
    late.start()
    late.wait_begun(10)
    late.join(10)
    assert called == [], "nobody waits for it any more"


async def test_a_call_that_takes_longer_than_its_thread_may_take_to_begin_returns() -> None:
    begun, gate = threading.Event(), threading.Event()

    def hold() -> int:
        begun.set()
        assert gate.wait(10)
        return 7

    call = asyncio.create_task(daemon_call(hold, "loader", start_seconds=5))
    await asyncio.to_thread(begun.wait, 10)
    quick = asyncio.create_task(daemon_call(gate.wait, "loader", start_seconds=5))
    gate.set()
    assert (await call, await quick) == (7, True)
