"""What an explanation does in the time that is left: by a clock that the test turns, never by real time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from service.card import Card
from service.errors import DeadlineError
from service.explain.insertion_deletion import refinements
from service.explain.options import ExplainOptions, explain_request
from service.explain.pace import Paced
from service.explain.runner import Runner
from service.fanout import FanOut
from service.imaging.decoder import ThreadDecoder
from service.runtime.model import Model
from tests.service.explain.running import Bench
from tests.service.explain.spots import spotted_image

pytestmark = pytest.mark.anyio


@dataclass
class Time:
    """A clock that a job of the fan-out moves on by its seconds; `passed` counts the jobs."""

    seconds: float
    now: float = 0.0
    passed: int = 0
    slows: Callable[[int], float] = field(default=lambda _: 1.0)

    def __call__(self) -> float:
        return self.now

    def job(self) -> None:
        self.now += self.seconds * self.slows(self.passed)
        self.passed += 1


class PacedFanOut(FanOut):
    """A fan-out each of whose jobs takes its time on the clock of the test."""

    def __init__(self, time: Time, hangs_after: int | None) -> None:
        super().__init__(requests=1, in_flight=1)
        self.time = time
        self.hangs_after = hangs_after

    async def run(self, *args: Any, **options: Any) -> Any:
        async for outcome in super().run(*args, **options):
            self.time.job()
            if self.time.passed == self.hangs_after:
                await asyncio.Event().wait()
            yield outcome


async def explain(
    bench: Bench,
    model: str,
    time: Time,
    *,
    seconds: float = 30,
    allowed_seconds: float | None = None,
    hangs_after: int | None = None,
    **options: Any,
) -> Any:
    """Return the JSON of an explanation whose every copy takes `time.seconds`, of `seconds` in all."""
    engine = bench.engine
    found: Model = engine.registry.find(tuple(engine.tasks), model, None)
    card: Card = found.card
    pipeline = engine.runner.pipeline
    assert isinstance(pipeline.decoder, ThreadDecoder)
    runner: Runner = replace(
        engine.runner,
        fan_out=PacedFanOut(time, hangs_after),
        pipeline=replace(pipeline, decoder=replace(pipeline.decoder, clock=_standing)),
        clock=time,
    )
    outcome = await runner.explain(
        found,
        spotted_image(),
        explain_request(ExplainOptions.model_validate(options), card, "json"),
        task=engine.task(card.task),
        segmenter=None,
        timeout_seconds=seconds,
        allowed_seconds=allowed_seconds,
    )
    return outcome.value


def _standing() -> float:
    """Return the time of decoders: images take none on the clock of the test."""
    return 0.0


CAM: dict[str, Any] = {"view": "cam", "score": False}
RISE: dict[str, Any] = {"view": "rise", "score": False}
OCCLUSION: dict[str, Any] = {"view": "occlusion", "score": False}


@pytest.mark.parametrize(
    ("seconds", "method", "samples"),
    [
        (0.001, "rise", 200),
        (0.09, "rise", 200),  # 200 copies take the 18 s that are a heat's of 30 s
        (0.1, "rise", 180),
        (0.36, "rise", 50),
        (0.4, "eigencam", None),  # 45 copies show too little
        (5.0, "eigencam", None),
    ],
)
async def test_cam_takes_the_masks_that_there_is_time_for_else_eigencam(
    tiny_models: Bench, seconds: float, method: str, samples: int | None
) -> None:
    time = Time(seconds)
    result = await explain(tiny_models, "tiny-detect", time, **CAM)
    assert result["method"] == method
    assert result.get("samples") == pytest.approx(samples, abs=1)
    assert time.now <= 30 or method == "eigencam"


async def test_eigencam_that_stands_in_names_its_stage(tiny_models: Bench) -> None:
    result = await explain(tiny_models, "tiny-detect", Time(5.0), **CAM)
    assert result["stage"] == "stage_1"
    assert "seed" not in result


@pytest.mark.parametrize(("seconds", "samples"), [(0.01, 400), (0.1, 180), (0.3, 60)])
async def test_rise_takes_the_masks_that_there_is_time_for(
    tiny_models: Bench, seconds: float, samples: int
) -> None:
    result = await explain(tiny_models, "tiny-classify", Time(seconds), **RISE)
    assert result["samples"] == pytest.approx(samples, abs=1)


@pytest.mark.parametrize(("seconds", "samples"), [(0.01, 144), (0.2, 81), (0.3, 49), (0.45, 36)])
async def test_occlusion_takes_the_finest_grid_that_there_is_time_for(
    tiny_models: Bench, seconds: float, samples: int
) -> None:
    time = Time(seconds)
    result = await explain(tiny_models, "tiny-classify", time, **OCCLUSION)
    assert result["samples"] == samples
    assert time.passed == (36 if samples == 36 else samples + 8), "the coarsest grid runs once"
    assert time.now <= 30


@pytest.mark.parametrize("options", [RISE, OCCLUSION, {**CAM, "method": "rise"}])
async def test_a_named_method_that_can_not_end_in_time_says_what_to_raise(
    tiny_models: Bench, options: dict[str, Any]
) -> None:
    time = Time(7.0)
    with pytest.raises(DeadlineError, match="needs 4 perturbed copies") as raised:
        await explain(tiny_models, "tiny-classify", time, **options)
    assert time.passed == 3, "no copy is begun after the 18 s that are a heat's"
    for words in ("tiny-classify", "the 30 s allowed", "X-Timeout-Ms", "samples", "eigencam"):
        assert words in str(raised.value)


async def test_the_message_states_the_deadline_of_the_request(tiny_models: Bench) -> None:
    with pytest.raises(DeadlineError, match="within the 45 s allowed"):
        await explain(tiny_models, "tiny-classify", Time(7.0), allowed_seconds=45.0, **RISE)


@pytest.mark.parametrize("options", [RISE, OCCLUSION, {**CAM, "method": "rise"}])
async def test_few_copies_are_an_answer_that_says_so(
    tiny_models: Bench, options: dict[str, Any]
) -> None:
    for seconds, samples in ((1.0, 18), (2.0, 9), (4.0, 5)):
        time = Time(seconds)
        result = await explain(tiny_models, "tiny-classify", time, **options)
        assert result["samples"] == pytest.approx(samples, abs=1)
        assert f"There was time for {result['samples']} " in result["detail"]
        assert time.now <= 18 + seconds
    usual = await explain(tiny_models, "tiny-classify", Time(0.3), **options)
    assert "detail" not in usual
    named = await explain(tiny_models, "tiny-classify", Time(0.3), samples=9, **options)
    assert "detail" not in named


async def test_places_that_become_slower_than_planned_are_fewer(tiny_models: Bench) -> None:
    time = Time(0.05, slows=lambda number: 8.0 if number > 60 else 1.0)
    result = await explain(tiny_models, "tiny-classify", time, **OCCLUSION)
    # 144 places were planned; 53 took 3 s, and the others 0.4 s each up to 18 s.
    assert result["samples"] == pytest.approx(53 + 37, abs=2)
    assert (result["heat"]["height"], result["heat"]["width"]) == (12, 12)
    assert time.now <= 20


@pytest.mark.parametrize("options", [RISE, OCCLUSION])
async def test_copies_that_do_not_come_back_are_given_up(
    tiny_models: Bench, options: dict[str, Any]
) -> None:
    """The clock stands still, so that only real time ends it."""
    given_up = await explain(
        tiny_models, "tiny-classify", Time(0.0), seconds=4, hangs_after=50, **options
    )
    assert 30 <= given_up["samples"] <= 51
    with pytest.raises(DeadlineError, match="needs 4 perturbed copies"):
        await explain(
            tiny_models, "tiny-classify", Time(0.0), seconds=0.4, hangs_after=3, **options
        )


async def test_a_probe_that_can_not_end_in_time_ends_after_its_first_copies(
    tiny_models: Bench,
) -> None:
    time = Time(1.0)
    with pytest.raises(DeadlineError, match="needs 44 perturbed copies") as raised:
        await explain(tiny_models, "tiny-classify", time, view="probe")
    assert time.passed == 8
    assert "samples" not in str(raised.value)


async def test_a_probe_whose_first_copies_are_slow_is_answered(tiny_models: Bench) -> None:
    """The first eight take 7.2 s, so that 36 more would take 32 s of the 23 s that are left; they take 18 s."""
    time = Time(0.5, slows=lambda number: 1.8 if number < 8 else 1.0)
    result = await explain(tiny_models, "tiny-classify", time, view="probe")
    assert sum(len(curve["points"]) for curve in result["curves"]) == time.passed == 44
    assert time.now < 30


async def test_a_probe_that_becomes_slow_is_given_up(tiny_models: Bench) -> None:
    time = Time(0.5, slows=lambda number: 1.0 if number < 8 else 4.0)
    with pytest.raises(DeadlineError, match="needs 44 perturbed copies"):
        await explain(tiny_models, "tiny-classify", time, view="probe")
    assert time.now < 25


@pytest.mark.parametrize("options", [RISE, {**CAM, "method": "rise"}, CAM])
async def test_samples_that_are_named_run_at_any_pace(
    tiny_models: Bench, options: dict[str, Any]
) -> None:
    result = await explain(tiny_models, "tiny-detect", Time(1.0), samples=12, **options)
    assert (result["method"], result["samples"]) == ("rise", 12)


async def test_more_time_gives_more_masks(tiny_models: Bench) -> None:
    result = await explain(tiny_models, "tiny-classify", Time(0.5), seconds=200, **RISE)
    assert result["samples"] == pytest.approx(240, abs=1)


async def test_masks_that_become_slower_than_planned_are_fewer(tiny_models: Bench) -> None:
    time = Time(0.1, slows=lambda number: 3.0 if number > 20 else 1.0)
    result = await explain(tiny_models, "tiny-classify", time, **RISE)
    assert 48 <= result["samples"] < 90
    assert time.now <= 20


@pytest.mark.parametrize(
    ("seconds", "steps"), [(0.01, 16), (0.5, 16), (0.7, 8), (1.2, 4), (1.7, 4)]
)
async def test_the_curves_have_the_steps_that_there_is_time_for(
    tiny_models: Bench, seconds: float, steps: int
) -> None:
    result = await explain(tiny_models, "tiny-classify", Time(seconds), view="cam")
    assert result["method"] == "cam"
    assert result["scores"]["steps"] == steps
    assert len(result["scores"]["deletion_curve"]) == steps + 1


async def test_steps_that_are_named_run_at_any_pace(tiny_models: Bench) -> None:
    result = await explain(tiny_models, "tiny-classify", Time(5.0), view="cam", steps=6)
    assert result["scores"]["steps"] == 6


async def test_without_time_for_the_first_steps_there_are_no_scores(tiny_models: Bench) -> None:
    class Spent(Time):
        """The look at the whole image takes all of the time."""

        def __call__(self) -> float:
            before, self.now = self.now, 30.0
            return before

    result = await explain(tiny_models, "tiny-classify", Spent(0.0), view="cam")
    assert result["method"] == "cam"
    assert "scores" not in result


async def test_fewer_steps_are_points_of_the_same_curves(tiny_models: Bench) -> None:
    fine, coarse = [
        (await explain(tiny_models, "tiny-classify", Time(seconds), view="cam"))["scores"]
        for seconds in (0.01, 1.7)
    ]
    assert fine["insertion_curve"][::4] == coarse["insertion_curve"]
    assert fine["deletion_curve"][::4] == coarse["deletion_curve"]


def test_refinements_add_what_is_missing() -> None:
    first, second, third = refinements()
    assert first == [0, 4, 8, 12, 16, 17, 21, 25, 29, 33]
    assert sorted(first + second) == [*range(0, 17, 2), *range(17, 34, 2)]
    assert sorted(first + second + third) == list(range(34))


def test_what_takes_no_time_is_affordable() -> None:
    assert Paced([1.0], 0.0).affords(0.0, 7) == 7
    assert Paced([1.0], 2.0).affords(9.0, 7) == 4
    assert Paced([1.0], 2.0).affords(-1.0, 7) == 0
