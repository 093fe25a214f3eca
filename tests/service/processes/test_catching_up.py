"""A worker that replaces another one has all of them serve the same."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from service.errors import FovealError, RefusedModelError, UnavailableError
from service.processes.catching_up import catch_up
from service.runtime.change import Change, ChangeReport

pytestmark = pytest.mark.anyio


@dataclass
class Workers:
    """In the place of all workers: fails with these errors, one after the other."""

    errors: list[FovealError]
    asked: list[str] = field(default_factory=list)

    async def change(self, change: Change) -> ChangeReport:
        self.asked.append(change.kind)
        if self.errors:
            raise self.errors.pop(0)
        return ChangeReport()


async def test_it_waits_for_its_models_and_for_the_other_workers() -> None:
    workers, loaded = Workers([UnavailableError("worker 2 does not answer")]), asyncio.Event()
    task = asyncio.create_task(catch_up(loaded, workers.change, 0.001))
    await asyncio.sleep(0.01)
    assert workers.asked == []
    loaded.set()
    await task
    assert workers.asked == ["reload", "reload"]


async def test_what_can_not_be_served_by_all_is_said_and_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers, loaded = Workers([RefusedModelError("the alias a leads nowhere")]), asyncio.Event()
    loaded.set()
    with caplog.at_level(logging.ERROR, "foveal"):
        await catch_up(loaded, workers.change, 0.001)
    assert workers.asked == ["reload"]
    assert "the workers may serve different models" in caplog.text
