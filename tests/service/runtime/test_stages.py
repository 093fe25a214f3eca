"""The stages of a batch: each job is prepared, run and read alone, and what fails fails alone."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from service.errors import (
    BrokenImageError,
    ConfigurationError,
    FovealError,
    InferenceError,
    UnavailableError,
)
from service.metrics import Metrics, VersionMetrics
from service.model_statistics import VersionStatistics
from service.runtime.entry import Entry, Line, Outcome
from service.runtime.job import Job, JobResult, Outputs, Run, Tensor
from service.runtime.stages import Stages
from service.runtime.turns import Seat, Turn
from tests.service.runtime.clocks import ManualClock

POISON = 13
MACS = 1000


class Future:
    """In place of a caller: nobody waits for these jobs."""

    def done(self) -> bool:
        return False


@dataclass
class Bench:
    """Stages with a clock that the jobs and the network move on."""

    pinned: bool = False
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: Metrics = field(default_factory=Metrics)
    answered: list[tuple[Entry, Outcome]] = field(default_factory=list)
    turn: Turn = field(default_factory=lambda: Turn(Seat("lane"), 100, low_priority=False))

    def __post_init__(self) -> None:
        self.stages = Stages(
            self.clock,
            VersionMetrics(self.metrics, "colors", 1),
            VersionStatistics(),
            macs=MACS,
            pinned=self.pinned,
            answer=self.answered.extend,
        )

    def entry(
        self,
        number: int = 1,
        *,
        prepare: Callable[[], tuple[Tensor, Any]] | None = None,
        finish: Callable[[Outputs, Any], Any] = lambda outputs, context: (outputs, context),
        accepted_at: float = 100,
    ) -> Entry:
        def made() -> tuple[Tensor, Any]:
            return np.array([number]), f"context {number}"

        future: Any = Future()
        return Entry(Job(prepare or made, finish), future, accepted_at, 200, Line())

    def prepared(self, *numbers: int) -> list[Entry]:
        entries = [self.entry(number) for number in numbers]
        assert all(self.stages.prepare(entry) for entry in entries)
        return entries

    def run(self, run: Run, entries: list[Entry]) -> list[tuple[Entry, Outputs | FovealError]]:
        return list(self.stages.run(run, entries, self.turn))

    def sample(self, name: str) -> float | None:
        found = [
            one.value
            for metric in self.metrics.registry.collect()
            for one in metric.samples
            if one.name == name and one.labels.get("model") == "colors"
        ]
        return found[0] if found else None


def twice(batch: Tensor) -> Outputs:
    if POISON in batch:
        raise RuntimeError("poison")
    return {"twice": 2 * batch}


def numbers(rows: list[tuple[Entry, Outputs | FovealError]]) -> list[object]:
    return [
        type(found) if isinstance(found, FovealError) else int(found["twice"][0])
        for _, found in rows
    ]


def test_a_job_is_prepared_once_and_its_time_is_noted() -> None:
    bench = Bench()
    calls = 0

    def prepare() -> tuple[Tensor, str]:
        nonlocal calls
        calls += 1
        bench.clock.advance(0.25)
        return np.array([7]), "context"

    entry = bench.entry(prepare=prepare)
    assert bench.stages.prepare(entry)
    assert bench.stages.prepare(entry)
    assert entry.tensor is not None
    assert (calls, entry.tensor.tolist(), entry.context, entry.trace.decode) == (
        1,
        [7],
        "context",
        0.25,
    )
    assert bench.answered == []


@pytest.mark.parametrize(
    ("raised", "kind", "message", "logged"),
    [
        (BrokenImageError("It is damaged."), BrokenImageError, "It is damaged.", None),
        (
            MemoryError(),
            UnavailableError,
            "There is not enough memory for this image now.",
            "not enough memory",
        ),
        (
            ZeroDivisionError("secret"),
            InferenceError,
            "The image could not be prepared.",
            "unexpected error",
        ),
    ],
)
def test_a_job_that_can_not_be_prepared_is_answered_at_once(
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    kind: type[FovealError],
    message: str,
    logged: str | None,
) -> None:
    bench = Bench()

    def prepare() -> tuple[Tensor, None]:
        raise raised

    entry = bench.entry(prepare=prepare)
    with caplog.at_level(logging.ERROR, "foveal"):
        assert bench.stages.prepare(entry) is False
    ((answered, error),) = bench.answered
    assert answered is entry
    assert type(error) is kind
    assert str(error) == message
    assert error.__traceback__ is None
    assert entry.tensor is None
    records = [record.getMessage() for record in caplog.records]
    assert (logged is None) == (records == [])
    assert logged is None or logged in records[0]


def test_a_batch_is_run_once_and_each_job_gets_its_rows() -> None:
    bench = Bench()
    entries = bench.prepared(1, 2, 3)
    seen = []

    def run(batch: Tensor) -> Outputs:
        seen.append(batch.tolist())
        return twice(batch)

    rows = bench.run(run, entries)
    assert [entry for entry, _ in rows] == entries
    assert numbers(rows) == [2, 4, 6]
    assert seen == [[[1], [2], [3]]]
    assert (bench.stages.batches_tried, bench.stages.batches_run) == (1, 1)


def test_the_times_of_a_batch_are_those_of_each_of_its_jobs() -> None:
    bench = Bench()
    early, late = bench.entry(1, accepted_at=99), bench.entry(2, accepted_at=103)
    for entry in (early, late):
        bench.stages.prepare(entry)
    early.trace.decode = 0.75
    bench.clock.now = 102

    def run(batch: Tensor) -> Outputs:
        bench.clock.advance(0.5)
        return twice(batch)

    bench.run(run, [early, late])
    assert (early.trace.queue, early.trace.infer, early.trace.batch_size) == (2.25, 0.5, 2)
    assert (late.trace.queue, late.trace.infer, late.trace.batch_size) == (0, 0.5, 2)
    assert (bench.turn.since, bench.turn.running) == (102, 2)


def test_what_was_run_is_counted() -> None:
    bench = Bench()
    bench.run(twice, bench.prepared(1, 2, 3))
    bench.run(twice, bench.prepared(4))
    assert bench.sample("foveal_macs_total") == 4 * MACS
    assert (bench.sample("foveal_batch_size_count"), bench.sample("foveal_batch_size_sum")) == (
        2,
        4,
    )


def test_the_pace_is_seconds_of_an_image_and_follows_slowly() -> None:
    bench = Bench()
    assert bench.stages.pace is None

    def lasting(seconds: float) -> Run:
        def run(batch: Tensor) -> Outputs:
            bench.clock.advance(seconds)
            return twice(batch)

        return run

    bench.run(lasting(4), bench.prepared(1, 2))
    assert bench.stages.pace == 2
    bench.run(lasting(10), bench.prepared(1))
    assert bench.stages.pace == 2 + (10 - 2) / 8
    bench.run(lasting(1), bench.prepared(1))
    assert bench.stages.pace == 3 + (1 - 3) / 8


@pytest.mark.parametrize("poisoned", [0, 1, 2, 3, 4])
def test_a_batch_that_fails_is_halved_until_the_job_that_fails_is_alone(poisoned: int) -> None:
    bench = Bench()
    chosen = [POISON if number == poisoned else number for number in range(5)]
    rows = bench.run(twice, bench.prepared(*chosen))
    assert numbers(rows) == [
        InferenceError if number == poisoned else 2 * number for number in range(5)
    ]
    assert (
        bench.stages.batches_tried - bench.stages.batches_run
        == {0: 3, 1: 3, 2: 3, 3: 4, 4: 4}[poisoned]
    )
    assert bench.stages.fits is None


def test_an_error_of_the_network_has_its_reason_and_no_names_of_files(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()

    def run(_: Tensor) -> Outputs:
        raise RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : idx=9 is out of bounds")

    with caplog.at_level(logging.ERROR, "foveal"):
        ((_, error),) = bench.run(run, bench.prepared(1))
    assert isinstance(error, InferenceError)
    assert str(error) == "The network failed on this image: idx=9 is out of bounds"
    assert "failed on an image" in caplog.text


@pytest.mark.parametrize(
    ("jobs", "largest", "fits"),
    [(8, 4, 4), (8, 3, 2), (7, 3, 2), (6, 3, 3), (5, 1, 1), (4, 4, None)],
)
def test_the_largest_batch_that_fits_into_the_memory_is_found(
    jobs: int, largest: int, fits: int | None
) -> None:
    bench = Bench()

    def run(batch: Tensor) -> Outputs:
        if len(batch) > largest:
            raise MemoryError
        return twice(batch)

    rows = bench.run(run, bench.prepared(*range(jobs)))
    assert numbers(rows) == [2 * number for number in range(jobs)]
    assert bench.stages.fits == fits


def test_what_once_fitted_is_never_more_later() -> None:
    bench = Bench()
    bench.stages.fits = 2

    def run(batch: Tensor) -> Outputs:
        if len(batch) == 8:
            raise MemoryError
        return twice(batch)

    bench.run(run, bench.prepared(*range(8)))
    assert bench.stages.fits == 2


def test_an_image_that_needs_more_memory_than_there_is_alone_can_be_sent_again() -> None:
    bench = Bench()

    def run(_: Tensor) -> Outputs:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 4294967296")

    ((_, error),) = bench.run(run, bench.prepared(1))
    assert type(error) is UnavailableError
    assert error.status == 503


@pytest.mark.parametrize(
    "rows", [np.array(1), np.zeros(3), np.zeros((1, 2))], ids=["no axis", "more", "fewer"]
)
def test_an_output_that_has_not_a_row_for_each_image_is_an_error(rows: Tensor) -> None:
    bench = Bench()

    def run(batch: Tensor) -> Outputs:
        return {"right": batch, "wrong": rows} if len(batch) == 2 else {"twice": 2 * batch}

    found = bench.run(run, bench.prepared(1, 2))
    assert numbers(found) == [2, 4], "each was run again alone"
    ((_, error),) = bench.run(lambda _: {"wrong": np.zeros((2, 3))}, bench.prepared(1))
    assert isinstance(error, InferenceError)
    assert "output wrong has 2×3 for 1 images" in str(error)


def test_a_turn_that_was_given_up_answers_nothing_more() -> None:
    bench = Bench()

    def run(batch: Tensor) -> Outputs:
        bench.turn.given_up = True
        return twice(batch)

    assert bench.run(run, bench.prepared(POISON)) == []
    assert bench.run(run, bench.prepared(1, POISON)) == []
    assert bench.stages.batches_tried == 2, "and runs nothing again"


class Pinned:
    """A run with memory of its own for three numbers."""

    def __init__(self) -> None:
        self.memory = np.zeros((3, 1), np.int64)
        self.seen: list[bool] = []

    def pinned_input(self, count: int) -> Tensor:
        return self.memory[:count]

    def __call__(self, batch: Tensor) -> Outputs:
        self.seen.append(np.shares_memory(batch, self.memory))
        return twice(batch)


@pytest.mark.parametrize("pinned", [True, False])
def test_images_are_stacked_in_the_memory_that_the_run_offers(*, pinned: bool) -> None:
    bench = Bench(pinned=pinned)
    run = Pinned()
    assert numbers(bench.run(run, bench.prepared(5, 6))) == [10, 12]
    assert run.seen == [pinned]
    assert numbers(bench.run(twice, bench.prepared(5))) == [10], "another run offers none"


def test_a_head_gets_its_rows_and_its_context() -> None:
    bench = Bench()
    (entry,) = bench.prepared(3)

    def finish(outputs: Outputs, context: object) -> object:
        bench.clock.advance(0.125)
        return int(outputs["twice"][0]), context

    entry = bench.entry(3, finish=finish)
    bench.stages.prepare(entry)
    ((_, outputs),) = bench.run(twice, [entry])
    assert not isinstance(outputs, FovealError)
    outcome = bench.stages.head(entry, outputs)
    assert isinstance(outcome, JobResult)
    assert outcome.value == (6, "context 3")
    assert outcome.trace is entry.trace
    assert entry.trace.head == 0.125
    assert bench.sample("foveal_stage_seconds_count") == 1


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (BrokenImageError("It is damaged."), BrokenImageError, "It is damaged."),
        (ConfigurationError("wrong"), ConfigurationError, "wrong"),
        (KeyError("secret"), InferenceError, "The network ran, but its output could not be read."),
    ],
)
def test_a_head_that_fails_fails_alone(
    caplog: pytest.LogCaptureFixture, raised: Exception, kind: type[FovealError], message: str
) -> None:
    bench = Bench()

    def finish(_: Outputs, __: object) -> object:
        raise raised

    with caplog.at_level(logging.ERROR, "foveal"):
        outcome = bench.stages.head(bench.entry(finish=finish), {})
    assert type(outcome) is kind
    assert str(outcome) == message
    assert ("unexpected error" in caplog.text) == (kind is InferenceError)
    assert bench.sample("foveal_stage_seconds_count") in {None, 0}
