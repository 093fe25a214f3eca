"""What is refused while a queue is full: only what it would refuse, and as the long way would."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

import pytest

from service.api.record import RequestRecord
from service.api.shedding import MOST_TARGETS, Shedding
from service.errors import OverloadedError
from service.metrics import Metrics

pytestmark = pytest.mark.anyio

TARGET = b"/v1/classify?top_k=1"
SCOPE = {
    "type": "http",
    "raw_path": b"/v1/classify",
    "path": "/v1/classify",
    "query_string": b"top_k=1",
}


class Queue:
    """A queue with so much room."""

    def __init__(self, left: int = 0) -> None:
        self.left = left

    def room(self) -> int:
        return self.left

    def error(self) -> OverloadedError:
        error = OverloadedError("256 images wait: 100 %. Try again.")
        error.room = WeakMethod(self.room)
        return error


class Later:
    """An event loop that keeps what is to be called later."""

    def __init__(self, calls: list[Callable[[], None]]) -> None:
        self._calls = calls

    def call_later(self, _: float, call: Callable[[], None]) -> None:
        self._calls.append(call)


def record(version: int = 1, model: str = "colors") -> RequestRecord:
    made = RequestRecord("mine")
    made.route, made.model, made.version = "/v1/classify", model, version
    return made


def shedding(queue: Queue) -> Shedding:
    made = Shedding(Metrics())
    made.note(SCOPE, record(), queue.error())
    return made


def refusal(made: Shedding, given_id: str | None = None, target: bytes = TARGET) -> bytes | None:
    return made.refusal(target, given_id, asyncio.get_running_loop())


async def test_a_full_queue_refuses_with_a_whole_answer() -> None:
    made = shedding(queue := Queue())
    seen = set()
    for given in (None, "mine", None):
        answer = refusal(made, given)
        assert answer is not None
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        problem = json.loads(body)
        assert int(headers["content-length"]) == len(body)
        assert headers["x-content-type-options"] == "nosniff"
        assert (headers["retry-after"], headers["content-type"]) == (
            "1",
            "application/problem+json",
        )
        assert (problem["status"], problem["code"]) == (503, "overloaded")
        assert problem["detail"] == str(queue.error())
        assert problem["request_id"] == headers["x-request-id"]
        seen.add(problem["request_id"])
    assert len(seen) == 3
    assert "mine" in seen


@pytest.mark.parametrize("target", [b"/v1/classify", b"/v1/classify?top_k=2", b"/"])
async def test_other_targets_take_the_long_way(target: bytes) -> None:
    queue = Queue()
    assert refusal(shedding(queue), target=target) is None


async def test_what_another_version_may_answer_takes_the_long_way() -> None:
    wanted, queue = [object()], Queue()
    made = Shedding(Metrics(), wanted=lambda: wanted[-1])
    made.note(SCOPE, record(), queue.error())
    assert refusal(made) is not None
    wanted.append(object())
    assert refusal(made) is None
    assert not made.targets


async def test_an_id_that_needs_escapes_takes_the_long_way() -> None:
    queue = Queue()
    assert refusal(shedding(queue), given_id='a"b') is None


async def test_so_many_pass_in_one_step_as_the_queue_has_room_for() -> None:
    made = shedding(queue := Queue(2))
    assert [refusal(made) is None for _ in range(4)] == [True, True, False, False]
    queue.left = 1
    await asyncio.sleep(0)
    assert [refusal(made) is None for _ in range(2)] == [True, False]


async def test_a_queue_that_is_gone_is_forgotten() -> None:
    queue = Queue()
    made = shedding(queue)
    del queue
    assert refusal(made) is None
    assert made.targets == 0


async def test_few_targets_are_known_and_no_error_without_a_queue() -> None:
    queue, made = Queue(), Shedding(Metrics())
    made.note(SCOPE, record(), OverloadedError("large bodies wait"))
    assert made.targets == 0
    for number in range(MOST_TARGETS + 1):
        scope = {**SCOPE, "query_string": b"top_k=%d" % number}
        made.note(scope, record(), queue.error())
    assert made.targets == 1


async def test_where_guards_may_refuse_nothing_is_remembered() -> None:
    queue, made = Queue(), Shedding(Metrics(), remembers=False)
    made.note(SCOPE, record(), queue.error())
    assert made.targets == 0
    assert refusal(made) is None


async def test_where_versions_share_the_requests_all_must_be_full() -> None:
    queues = {1: Queue(), 2: Queue()}
    made = Shedding(Metrics(), sharing=lambda name: queues if name == "colors" else ())
    made.note(SCOPE, record(1), queues[1].error())
    assert [refusal(made) for _ in range(3)] == [None] * 3  # the other version may have room
    made.note(SCOPE, record(2), queues[2].error())
    assert refusal(made) is not None
    queues[2].left = 1
    await asyncio.sleep(0)  # what came before is queued
    assert [refusal(made) is None for _ in range(2)] == [True, False]


async def test_where_one_of_the_versions_is_gone_the_target_is_forgotten() -> None:
    queues = {1: Queue(), 2: Queue()}
    made = Shedding(Metrics(), sharing=lambda _: (1, 2))
    for version, queue in queues.items():
        made.note(SCOPE, record(version), queue.error())
    del queues[2], queue
    assert refusal(made) is None
    assert made.targets == 0


async def test_another_model_that_answers_a_target_by_now_takes_its_place() -> None:
    first, second, metrics = Queue(), Queue(), Metrics()
    made = Shedding(metrics)
    made.note(SCOPE, record(), first.error())
    assert refusal(made) is not None
    made.note(SCOPE, record(model="shapes"), second.error())
    first.left = 9
    assert refusal(made) is not None
    labels = {"route": "/v1/classify", "code": "overloaded"}
    assert metrics.registry.get_sample_value("foveal_errors_total", labels) == 1


async def test_what_is_known_is_forgotten_when_it_is_counted() -> None:
    """A target may lead to another version by now, whose queue is empty."""
    queue, metrics, calls = Queue(), Metrics(), list[Callable[[], None]]()
    made = Shedding(metrics)
    made.note(SCOPE, record(), queue.error())
    loop: Any = Later(calls)
    assert made.refusal(TARGET, None, loop) is not None
    calls.pop()()
    assert made.refusal(TARGET, None, loop) is None
    labels = {"route": "/v1/classify", "code": "overloaded"}
    assert metrics.registry.get_sample_value("foveal_errors_total", labels) == 1
