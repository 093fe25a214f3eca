"""What one request of tensors may make the service hold, and how its rows go into the queue."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi import Request

from service.api.dialects.v2.request import read_request
from service.api.output_room import OutputRoom
from service.api.record import RequestRecord
from service.api.tensors import (
    TensorInput,
    TensorLimits,
    require_holdable,
    run_tensors,
)
from service.errors import DeadlineError, TooManyImagesError
from service.runtime.job import JobResult, Trace
from service.runtime.signature import Signature, TensorInfo

MIB = 2**20
ROWS = np.zeros((2, 3), np.float32)
PATH = SimpleNamespace(shares=None, outputs=OutputRoom(MIB))


def outputs(*shapes: tuple[int | None, ...]) -> Signature:
    return Signature(outputs=tuple(TensorInfo("a", "tensor(float)", shape) for shape in shapes))


def test_as_many_rows_as_can_be_held() -> None:
    maps = outputs((None, 21, 512, 512), (None, 43, 512, 512))  # 64 MiB a row
    assert require_holdable(maps, 4) == 4 * 64 * MIB
    with pytest.raises(TooManyImagesError, match=f"of {5 * 64 * MIB} bytes.* at most 4 rows"):
        require_holdable(maps, 5)


def test_one_row_is_always_allowed() -> None:
    assert require_holdable(outputs((None, 1024, 1024, 1024)), 1) == 4096 * MIB


def test_unstated_axes_count_as_one() -> None:
    require_holdable(outputs((None, None, 512)), 64)


class Queue:
    """A call that keeps how it was run, and gives an outcome to each row."""

    def __init__(self, outcome: object) -> None:
        self.model = SimpleNamespace(name="colors", signature=outputs((None, 3)))
        self.given: dict[str, Any] = {}
        self._outcome = outcome

    async def run(self, rows: Any, **given: Any) -> list[object]:
        self.given = given
        return [self._outcome] * len(rows)


async def run(queue: Queue, given: TensorInput, headers: Any = ()) -> list[Any]:
    async def receive() -> Any:
        raise AssertionError("nobody listens")

    request = Request({"type": "http", "headers": list(headers)}, receive)
    record = RequestRecord("an-id", headers)
    services: Any = PATH
    call: Any = queue
    return await run_tensors(request, services, record, call, given)


@pytest.mark.anyio
@pytest.mark.parametrize("low", [False, True])
async def test_the_priority_and_the_shorter_time_reach_the_queue(low: bool) -> None:  # noqa: FBT001
    queue = Queue(JobResult("outputs", Trace()))
    given = TensorInput(ROWS, timeout_seconds=0.5, low_priority=low)
    assert await run(queue, given) == ["outputs", "outputs"]
    assert queue.given["low_priority"] is low
    assert queue.given["timeout_seconds"] == 0.5
    await run(queue, TensorInput(ROWS, timeout_seconds=500.0))
    assert queue.given["timeout_seconds"] <= 30


@pytest.mark.anyio
async def test_whose_time_ended_is_said() -> None:
    error = DeadlineError("The answer was not ready within 500 ms.")
    headers = [(b"x-timeout-ms", b"9000")]
    with pytest.raises(DeadlineError, match="within 500 ms"):
        await run(Queue(error), TensorInput(ROWS, timeout_seconds=0.5), headers)
    with pytest.raises(DeadlineError, match="within 9000 ms"):
        await run(Queue(error), TensorInput(ROWS), headers)


@pytest.mark.parametrize(
    ("priority", "low"), [(None, False), (0, False), (1, False), (2, True), (3, False), (99, False)]
)
def test_priority_2_of_v2_yields_to_all_others(priority: int | None, low: bool) -> None:  # noqa: FBT001
    model: Any = SimpleNamespace(
        name="colors",
        blank=np.zeros(3, np.float32),
        card=SimpleNamespace(input=None),
        signature=Signature(
            (TensorInfo("x", "tensor(float)", (None, 3)),), outputs((None, 3)).outputs
        ),
    )
    parameters = "" if priority is None else f'"parameters":{{"priority":{priority}}},'
    body = (
        f'{{{parameters}"inputs":[{{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}}]}}'
    )
    assert read_request(body.encode(), None, model, TensorLimits(4, 10)).input.low_priority is low
