"""The way of an image where its answer may be known: by what it depends on, whatever wakes meanwhile."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from service.caching import CachingPipeline, Question
from service.imaging.announced import Announced
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.response_cache import ResponseCache
from service.runtime.job import JobResult, Trace
from service.runtime.model import Model
from tests.service.runtime.networks import servable

pytestmark = pytest.mark.anyio

QUESTION = Question(("classify",))
LARGE = bytes(1 << 20)


class WakingPipeline:
    """In the place of a pipeline: the model that it runs may be loaded in another precision for it."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.runs = 0

    def clock(self) -> float:
        return 0.0

    async def announce(
        self, images: Sequence[bytes], until: float, disconnected: object
    ) -> list[Announced]:
        assert disconnected is None
        assert len(images) > 1
        assert until == 10, "the deadline of the request"
        return [Announced(len(one), place) for place, one in enumerate(images)]

    async def predict(
        self,
        model: Model,
        images: Sequence[bytes],
        *_: object,
        announced: Sequence[Announced] | None,
        **__: object,
    ) -> list[JobResult[Any]]:
        if announced is not None:
            assert [one.pixels for one in announced] == [len(one) for one in images]
        model.identity = f"graph in {self.precision}"
        self.runs += 1
        return [JobResult({"by": self.precision, "bytes": len(one)}, Trace()) for one in images]


async def ask(pipeline: CachingPipeline, model: Model, *images: bytes) -> list[str]:
    outcomes = await pipeline.predict(model, images, lambda *_: None, QUESTION, timeout_seconds=10)
    assert all(isinstance(one, JobResult) for one in outcomes)
    return [cast("Any", one).value["by"] for one in outcomes]


@pytest.mark.parametrize("images", [[b"a"], [b"a", b"b"], [LARGE]])
async def test_an_answer_is_kept_for_the_precision_that_gave_it_although_the_model_woke_for_it(
    images: list[bytes],
) -> None:
    network, model = WakingPipeline("fp32"), Model(servable())
    cache = ResponseCache(1 << 20, Metrics(), longest_seconds=60)
    pipeline = CachingPipeline(cast("Pipeline", network), cache)
    count = len(images)
    assert await ask(pipeline, model, *images) == ["fp32"] * count
    assert await ask(pipeline, model, *images) == ["fp32"] * count
    assert network.runs == 1
    # The model is asleep, and an image that is not known wakes it in int8.
    network.precision = "int8"
    other = [one + b"!" for one in images]
    assert await ask(pipeline, model, *other) == ["int8"] * count
    assert await ask(pipeline, model, *other) == ["int8"] * count
    assert network.runs == 2, "it is known for int8"
    assert await ask(pipeline, model, *images) == ["int8"] * count
    # And in fp32 again.
    network.precision = "fp32"
    assert await ask(pipeline, model, images[0] + b"?") == ["fp32"]
    assert await ask(pipeline, model, *images) == ["fp32"] * count
    assert await ask(pipeline, model, *other) == ["fp32"] * count
