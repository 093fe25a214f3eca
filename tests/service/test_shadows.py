"""Shadows: what a second version makes of a request is compared with its answer, and nobody waits for it."""

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest

from service.errors import FovealError, InferenceError, InvalidParameterError, OverloadedError
from service.metrics import Metrics
from service.pipeline import EncodedImage
from service.runtime.job import JobResult, Trace
from service.runtime.model import Model
from service.shadows import MOST_BYTES, MOST_IMAGES, Shadows
from service.tasks.classify import CLASSIFY
from service.tasks.task import TaskOptions
from tests.samples import shadowed
from tests.service.runtime.networks import servable

pytestmark = pytest.mark.anyio
TASK = replace(
    CLASSIFY, settle=lambda options, _: options, same_result=lambda one, other: one == other
)
OPTIONS = TaskOptions()


def results(*values: str) -> list[JobResult[Any] | FovealError]:
    return [JobResult(value, Trace()) for value in values]


@dataclass
class Line:
    """In the place of a pipeline: answers what it is told, once it is let."""

    outcomes: Sequence[JobResult[Any] | FovealError] = ()
    refuses: FovealError | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)

    async def predict(
        self, _: Model, images: Sequence[EncodedImage], __: object, **how: Any
    ) -> Sequence[JobResult[Any] | FovealError]:
        self.asked.append((images, how))
        await self.gate.wait()
        if self.refuses is not None:
            raise self.refuses
        return self.outcomes


class House:
    def __init__(self, *outcomes: JobResult[Any] | FovealError, has_room: bool = True) -> None:
        self.metrics, self.line = Metrics(), Line(outcomes)
        self.line.gate.set()
        self.shadows = Shadows(cast("Any", self.line), self.metrics, lambda _: has_room)
        self.shadow = Model(servable(version=2))

    def offer(
        self,
        *outcomes: JobResult[Any] | FovealError,
        busy: bool = False,
        task: Any = TASK,
    ) -> None:
        images = [f"image {number}".encode() for number in range(len(outcomes))]
        self.shadows.offer(task, OPTIONS, self.shadow, images, outcomes, busy=busy)

    async def counted(self) -> dict[str, float]:
        """Return what was counted, once nothing runs any more."""
        for _ in range(8):  # steps of the event loop; what runs waits for nothing
            await asyncio.sleep(0)
        return shadowed(self.metrics.registry)


async def test_each_result_is_compared_with_the_answer() -> None:
    h = House(*results("cat", "dog"), InferenceError("broken"))
    h.offer(*results("cat", "cat", "cat"))
    assert await h.counted() == {"agreed": 1, "differed": 1, "failed": 1}
    ((_, how),) = h.line.asked
    assert how["low_priority"]
    assert not how["is_request"], "a shadow keeps no model in memory"


async def test_only_images_that_were_answered_are_run() -> None:
    h = House(*results("cat"))
    h.offer(InferenceError("broken"), *results("cat"))
    assert await h.counted() == {"agreed": 1}
    assert h.line.asked[0][0] == [b"image 1"]
    h.offer(InferenceError("broken"))
    assert len(h.line.asked) == 1


async def test_where_others_wait_nothing_runs() -> None:
    h = House()
    h.offer(*results("cat", "cat"), busy=True)
    assert await h.counted() == {"dropped": 2}
    assert h.line.asked == []


async def test_no_other_model_leaves_the_memory_for_a_shadow() -> None:
    h = House(has_room=False)
    h.offer(*results("cat"))
    assert await h.counted() == {"dropped": 1}
    assert h.line.asked == []


async def test_few_images_run_at_once_and_the_next_ones_have_room_again() -> None:
    h = House(*results(*["cat"] * MOST_IMAGES))
    h.line.gate.clear()
    h.offer(*results(*["cat"] * MOST_IMAGES))
    h.offer(*results("cat"))
    h.line.gate.set()
    assert await h.counted() == {"agreed": MOST_IMAGES, "dropped": 1}
    h.offer(*results(*["cat"] * MOST_IMAGES))
    assert await h.counted() == {"agreed": 2 * MOST_IMAGES, "dropped": 1}


async def test_a_flood_of_large_images_is_dropped_by_the_bytes_that_shadows_hold() -> None:
    h = House(*results("cat"))
    h.line.gate.clear()
    for size in (MOST_BYTES // 2, MOST_BYTES // 2, 1, 1, MOST_BYTES):
        h.shadows.offer(TASK, OPTIONS, h.shadow, [bytes(size)], results("cat"), busy=False)
    h.shadows.offer_inputs(TASK, h.shadow.card, h.shadow, [np.zeros(8)], results("cat"), busy=False)
    h.line.gate.set()
    assert await h.counted() == {"agreed": 2, "dropped": 4}
    h.shadows.offer(TASK, OPTIONS, h.shadow, [bytes(MOST_BYTES)], results("cat"), busy=False)
    assert await h.counted() == {"agreed": 3, "dropped": 4}, "there is room again"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(OverloadedError("full"), "dropped"), (InvalidParameterError("no such class"), "failed")],
)
async def test_a_shadow_that_does_not_run_is_counted_and_nothing_else(
    error: FovealError, outcome: str
) -> None:
    h = House()
    h.line.refuses = error
    h.offer(*results("cat", "cat"))
    assert await h.counted() == {outcome: 2}


async def test_options_that_the_shadow_can_not_do_are_a_failure() -> None:
    def refuse(*_: object) -> TaskOptions:
        raise InvalidParameterError("top_k: the model has 3 classes.")

    h = House()
    h.offer(*results("cat"), task=replace(TASK, settle=refuse))
    assert await h.counted() == {"failed": 1}
    assert h.line.asked == []


@pytest.mark.parametrize(
    ("raised", "outcome"), [(MemoryError(), "dropped"), (KeyError("label"), "failed")]
)
async def test_a_comparison_that_raises_is_counted_and_gives_its_place_back(
    raised: Exception, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bool:
        raise raised

    h = House(*results("cat"))
    for _ in range(MOST_IMAGES + 1):
        h.offer(*results("cat"), task=replace(TASK, same_result=fail))
        await h.counted()
    assert await h.counted() == {outcome: MOST_IMAGES + 1}
    assert ("failed" in caplog.text) is (outcome == "failed")


async def test_a_shadow_that_was_removed_drains_first() -> None:
    h = House(*results("cat"))
    h.line.gate.clear()
    h.offer(*results("cat"))
    await asyncio.sleep(0)
    assert h.shadow.lease is not None
    lease = weakref.ref(h.shadow.lease)
    h.shadow.lease = None
    assert lease() is not None
    h.line.gate.set()
    await h.counted()
    assert lease() is None


async def test_at_the_end_what_runs_is_dropped() -> None:
    h = House()
    h.line.gate.clear()
    h.offer(*results("cat"))
    await asyncio.sleep(0)
    await h.shadows.close()
    assert await h.counted() == {}
