import asyncio
import threading

import pytest

from service.whole_call import whole_call

pytestmark = pytest.mark.anyio


async def test_returns_what_the_function_returns() -> None:
    assert await whole_call(divmod, 7, 2) == (3, 1)


async def test_raises_what_the_function_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        await whole_call(divmod, 7, 0)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_canceled_call_is_waited_for(*, times: int, fails: bool) -> None:
    began, go_on, returned = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert go_on.wait(10)
        returned.set()
        if fails:
            raise OSError("full")

    call = asyncio.create_task(whole_call(work))
    await asyncio.to_thread(began.wait, 10)
    for _ in range(times):
        call.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not call.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert returned.is_set()
