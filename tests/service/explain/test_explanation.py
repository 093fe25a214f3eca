"""One explanation on its way: its time, its image, its copies and their errors, over parts that the test scripts."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.errors import (
    BrokenImageError,
    DeadlineError,
    FovealError,
    InferenceError,
    InvalidParameterError,
    OverloadedError,
)
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.request import ExplainRequest
from service.fanout import FanOut
from service.heads.targets import TargetChoice
from service.imaging.overlay import require_png
from service.runtime.job import Job, JobResult, Trace
from tests.service.api.clock import Clock
from tests.service.explain.networks import tiny_card

pytestmark = pytest.mark.anyio

FRAME: Frame = np.full((4, 4, 3), 7, np.uint8)


class Queue:
    """A batcher that runs each job at once, or gives an error in its place."""

    def __init__(self, errors: dict[int, FovealError] | None = None) -> None:
        self.errors = errors or {}
        self.options: list[dict[str, Any]] = []
        self.drawn = 0

    async def submit(self, jobs: list[Job[Any, Any]], **options: Any) -> list[Any]:
        self.options.append(options)
        (job,) = jobs
        number, self.drawn = self.drawn, self.drawn + 1
        if number in self.errors:
            return [self.errors[number]]
        tensor, context = job.prepare()
        outputs = {"score": np.array(tensor.mean() / 255)}
        return [JobResult(job.finish(outputs, context), Trace(batch_size=1))]


class Line:
    """A pipeline: the image's frame is always the same."""

    def __init__(self, error: FovealError | None = None) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.large: list[tuple[object, float]] = []
        self.error = error

    def job(
        self, image: object, card: object, head: Any, until: float, require: object
    ) -> Job[Any, Any]:
        self.asked.append((image, card, until, require))
        return Job(lambda: (FRAME, "source"), head)

    async def prepared_if_large(
        self, image: object, job: Job[Any, Any], until: float
    ) -> Job[Any, Any]:
        if self.error is not None:
            raise self.error
        self.large.append((image, until))
        return job


def model_of(queue: Queue, **more: Any) -> Any:
    """Return what a fan-out needs of a model that is in memory."""
    return SimpleNamespace(queue=queue, require_served=lambda: None, **more)


def explanation(queue: Queue | None = None, **changed: Any) -> Explanation:
    queue = queue or Queue()
    model = model_of(queue, name="tiny-classify", card=tiny_card("classify"))
    explainer: Any = SimpleNamespace(batcher=queue, card=tiny_card("embed"), anatomy="anatomy")
    task: Any = SimpleNamespace(name="classify", target=None)
    made = Explanation(
        request=ExplainRequest("cam", "json", class_id=2, box=1),
        model=model,
        task=task,
        explainer=explainer,
        image=b"an image",
        segmenter=None,
        pipeline=cast("Any", Line()),
        fan_out=FanOut(requests=1, in_flight=2),
        timeout_seconds=9,
        allowed_seconds=30,
        heat_from_copies=True,
        deadline=120,
        clock=Clock(100),
    )
    return replace(made, **changed)


def test_the_time_left_is_that_until_the_deadline_and_never_less_than_none() -> None:
    clock = Clock(100)
    one = explanation(clock=clock)
    assert one.left() == 20
    clock.now = 120.5
    assert one.left() == 0


def test_the_card_and_the_anatomy_are_those_of_the_network_with_inner_maps() -> None:
    one = explanation()
    assert one.card is one.explainer.card
    assert one.anatomy is one.explainer.anatomy


def test_the_target_is_the_one_that_the_request_asks_for() -> None:
    asked: list[object] = []

    def target(*given: object) -> str:
        asked.extend(given)
        return "the target"

    task: Any = SimpleNamespace(name="classify", target=target)
    one = explanation(task=task)
    outputs, source = cast("Any", {"a": 1}), cast("Any", "source")
    assert cast("object", one.choose_target(outputs, source)) == "the target"
    assert asked == [outputs, source, one.card, TargetChoice(2, 1)]


def test_a_task_without_targets_can_not_be_explained_by_one() -> None:
    one = explanation()
    with pytest.raises(
        InvalidParameterError, match=r"view: cam explains a result, and that of classify"
    ):
        one.choose_target({}, cast("Any", "source"))


def test_so_many_requests_are_admitted_as_the_fan_out_has_places() -> None:
    one = explanation()
    with one.admit(), pytest.raises(OverloadedError), one.admit():
        pass
    with one.admit():
        pass


async def test_the_job_of_the_image_gives_up_at_the_deadline() -> None:
    one = explanation()
    card = tiny_card("segment")
    await one.image_job(card, lambda *_: None)
    assert cast("Any", one.pipeline).asked == [(b"an image", card, 120, None)]
    assert cast("Any", one.pipeline).large == [(b"an image", 120)]
    with pytest.raises(InvalidParameterError, match="view: cam needs an image"):
        await explanation(image=None).image_job(card, lambda *_: None)


async def test_a_large_image_that_is_not_prepared_in_time_makes_the_explanation_late() -> None:
    late = explanation(pipeline=cast("Any", Line(DeadlineError("late"))))
    with pytest.raises(DeadlineError, match="30"):
        await late.run_explainer(lambda *_: None)


@pytest.mark.parametrize("form", ["overlay", "heat"])
async def test_what_is_as_large_as_the_image_has_a_bound_before_the_network_runs(form: Any) -> None:
    one = explanation()
    one = replace(one, request=replace(one.request, form=form))
    await one.image_job(tiny_card("segment"), lambda *_: None)
    assert cast("Any", one.pipeline).asked[0][-1] is require_png


async def test_a_head_gets_the_outputs_the_frame_and_the_image() -> None:
    queue = Queue()
    outcome = await explanation(queue).run_explainer(
        lambda outputs, frame, source: (float(outputs["score"]), frame, source)
    )
    score, frame, source = outcome.value
    assert score == pytest.approx(7 / 255)
    assert frame is FRAME
    assert cast("object", source) == "source"
    assert queue.options == [{"timeout_seconds": 9, "low_priority": True, "bounded": True}]


async def test_a_run_that_is_late_says_what_to_change() -> None:
    one = explanation(Queue({0: DeadlineError("The answer was not ready within 9000 ms.")}))
    with pytest.raises(DeadlineError) as caught:
        await one.run_explainer(lambda *_: None)
    said = str(caught.value)
    assert said.startswith("view=cam of tiny-classify was not ready within 30000 ms.")
    assert "method=eigencam" in said
    late = replace(one, explainer=explanation(Queue({0: DeadlineError("late")})).explainer)
    with pytest.raises(DeadlineError) as caught:
        await replace(late, heat_from_copies=False).run_explainer(lambda *_: None)
    assert "method=eigencam" not in str(caught.value)


async def test_another_error_of_a_run_is_passed_on() -> None:
    error = BrokenImageError("It is damaged.")
    with pytest.raises(BrokenImageError) as caught:
        await explanation(Queue({0: error})).run_explainer(lambda *_: None)
    assert caught.value is error


def copies(*levels: int) -> list[Callable[[], Frame]]:
    return [partial(np.full, (4, 4, 3), level, np.uint8) for level in levels]


TARGET: Any = SimpleNamespace(score=lambda outputs: float(outputs["score"]))


async def test_copies_are_scored_in_their_order() -> None:
    queue = Queue()
    scores = await explanation(queue).score_copies(copies(255, 0, 51), TARGET)
    assert scores == pytest.approx([1, 0, 0.2])
    assert queue.options == [{"timeout_seconds": 9, "low_priority": True, "bounded": True}] * 3


async def test_copies_are_made_as_places_become_free() -> None:
    made: list[int] = []

    def endless() -> Iterable[Callable[[], Frame]]:
        number = 0
        while True:
            made.append(number)
            number += 1
            yield lambda: FRAME

    one = explanation()
    scores = one.each_score(endless(), TARGET)
    found = [await anext(scores) for _ in range(3)]
    await scores.aclose()
    assert found == pytest.approx([7 / 255] * 3)
    assert len(made) <= 3 + 2, "two are in flight"


@pytest.mark.parametrize("failed", [0, 1, 2])
async def test_the_first_error_ends_the_copies(failed: int) -> None:
    queue = Queue({failed: InferenceError("poison")})
    one = explanation(queue)
    found: list[float] = []

    async def collect() -> None:
        async for score in one.each_score(copies(*[255] * 50), TARGET):
            found.append(score)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(InferenceError, match="poison"):
        await collect()
    assert found == [1] * failed
    assert queue.drawn <= failed + 3, "the jobs after it are dropped"


async def test_jobs_of_another_model_go_through_its_own_queue() -> None:
    queue, other = Queue(), Queue()
    segmenter = model_of(other)

    def job(number: int) -> Job[Any, int]:
        return Job(lambda: (FRAME, number), lambda _, context: int(context) * 2)

    jobs = [job(number) for number in range(5)]
    assert await explanation(queue).run_jobs(segmenter, jobs) == [0, 2, 4, 6, 8]
    assert (queue.drawn, other.drawn) == (0, 5)


async def test_results_come_as_they_are_ready() -> None:
    one = explanation()
    jobs: list[Job[Any, Any]] = [Job(lambda: (FRAME, None), lambda *_: "result")] * 3
    results: AsyncIterator[Any] = one.each_result(one.model, jobs)
    assert [result async for result in results] == ["result"] * 3
