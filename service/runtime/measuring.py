"""The ways to serve a model, each compared with fp32 on reference frames and timed, by turns."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.card import Card
from service.errors import DeviceError, ServableError
from service.graph.seven_bits import with_seven_bits
from service.runtime.candidates import Candidate
from service.runtime.choice import Way
from service.runtime.device import EXACT_PRODUCTS, Device, SessionPlan, plan_session
from service.runtime.first_runs import first_runs
from service.runtime.job import Outputs
from service.runtime.low_priority import Calling, at_once
from service.runtime.patient_calls import PATIENCE_SECONDS, patient_calling
from service.runtime.reference import Frames, made_frames, read_reference
from service.runtime.repository import Servable
from service.runtime.session import Session, open_session
from service.runtime.tuning import Clock, seconds_of, thread_clock

FRAMES_SECONDS = 20.0
"""How long the runs on reference frames may take; where a frame takes long, fewer count."""
LEAST_FRAMES = 16
ROUNDS = 5
TURNS_SECONDS = 5.0
"""After so long no further round is timed."""
IMAGES_ON_GPU = 8
"""A GPU is timed with a batch, as it is used."""


class Comparison(Protocol):
    """How far the outputs of two runs agree, and whether that is enough."""

    @property
    def measure(
        self,
    ) -> Callable[[Sequence[Outputs], Sequence[Outputs], Card], dict[str, float]]:
        """Returns figures of the outputs of the same images as found and as expected, each without the batch axis."""

    def shortfall(self, figures: Mapping[str, float], *, reduced: bool) -> str:
        """Return which figures are beyond their limits; empty where none is."""

    def is_proved_by_labels(
        self, figures: Mapping[str, float], variant: Card, servable: Card
    ) -> bool:
        """Return whether labeled images have proved a variant at the export, and the figures are those of then."""


class MeasuredRun(Protocol):
    """A run of a network that can be stopped."""

    def __call__(self, batch: NDArray[Any], /) -> Outputs: ...

    def stop(self, thread: int) -> None: ...


OpenCandidate = Callable[[Candidate, SessionPlan], MeasuredRun]


def open_candidate(candidate: Candidate, plan: SessionPlan) -> Session:
    """Open a session of a candidate's file.

    Raises:
        ServableError, DeviceError: it does not load, or not on the device.
    """
    path = candidate.servable.path
    if candidate.exact_products:
        plan = replace(plan, entries=plan.entries | EXACT_PRODUCTS)
    graph = with_seven_bits(path) if candidate.seven_bits else None
    return open_session(path, candidate.device, plan, graph=graph)


@dataclass(frozen=True, slots=True)
class Tried:
    """A way, and its run where it may be timed."""

    way: Way
    run: MeasuredRun | None = None


class Measuring:
    """Compares the ways to serve one model with the truth, which is the model itself on ONNX Runtime's CPU kernels.

    Args:
        servable: the model.
        outputs: the names of the outputs that are compared.
        comparison: that of its task.
        ways: all of them.
        cache: folder for what devices compile.
        open_as: opens a candidate.
        clock: returns seconds.
        seconds: how long the runs of each candidate may take before they are stopped.
        at_low_priority: makes the calls that run on one thread of a CPU; None: they are made at once.
        narrow_clock: returns seconds of the calling thread on a core; times such runs.

    Attributes:
        count: on how many frames the figures are measured.
    """

    def __init__(
        self,
        servable: Servable,
        outputs: Collection[str],
        comparison: Comparison,
        *,
        ways: Sequence[Candidate],
        cache: Path,
        clock: Clock,
        seconds: float,
        open_as: OpenCandidate = open_candidate,
        at_low_priority: Calling | None = None,
        narrow_clock: Clock = thread_clock,
    ) -> None:
        self.count = 0
        self._servable = servable
        self._outputs = tuple(outputs)
        self._comparison = comparison
        self._ways = ways
        self._cache = cache
        self._clock = clock
        self._seconds = seconds
        self._open_as = open_as
        self._narrow_clock = narrow_clock
        self._runs: list[MeasuredRun] = []
        self._quietly: Calling = at_once
        if at_low_priority is not None:
            patience = min(PATIENCE_SECONDS, seconds)
            self._quietly = patient_calling(servable.path, self._runs, at_low_priority, patience)
        self._made = made_frames(servable.card.image_input)
        self._truths: dict[str, list[Outputs]] = {}

    def tried(self, candidate: Candidate) -> Tried:
        """Return a way with its figures, or with why it is refused."""
        try:
            return self._tried(candidate)
        except (ServableError, DeviceError) as error:
            return Tried(way_of(candidate, refused=str(error)))

    def seconds_of_each(self, runs: Mapping[int, MeasuredRun], *, on_gpu: bool) -> dict[int, float]:
        """Return the seconds of an image in each run, timed by turns, so that all meet the same noise.

        Raises:
            ServableError: a run failed or did not end in time.
        """
        size = min(IMAGES_ON_GPU if on_gpu else 1, self._servable.card.max_batch or IMAGES_ON_GPU)
        batch = self._made[:size]
        best = dict.fromkeys(runs, float("inf"))
        # By turns all runs need the same priority, and on one clock: waiting for a core is not their fault.
        calling = self._quietly if all(_is_narrow(self._ways[one]) for one in runs) else at_once
        clock = self._clock if calling is at_once else self._narrow_clock

        def take_turns() -> None:
            began = clock()
            with first_runs(self._servable.path, list(runs.values()), self._seconds):
                for _ in range(ROUNDS):
                    for place, run in runs.items():
                        best[place] = min(best[place], seconds_of(run, batch, clock))
                    if clock() - began > TURNS_SECONDS:
                        break

        calling(take_turns)
        return {place: seconds / size for place, seconds in best.items()}

    def _tried(self, candidate: Candidate) -> Tried:
        card, comparison = self._servable.card, self._comparison
        frames, name = self._frames_of(candidate)
        calling = self._calling(candidate)
        run = calling(lambda: self._opened(candidate))
        expected = self._truth(frames, name)

        def rows() -> list[Outputs]:
            with first_runs(candidate.servable.path, [run], self._seconds):
                return [self._row(run, frame) for frame in frames[: len(expected)]]

        found = calling(rows)
        with first_runs(candidate.servable.path, [run], self._seconds):
            figures = comparison.measure(found, expected, card)
        self.count = max(self.count, len(expected))
        reason = comparison.shortfall(figures, reduced=candidate.is_reduced)
        if reason and comparison.is_proved_by_labels(figures, candidate.servable.card, card):
            reason = ""
        rounded = {name: round(figure, 5) for name, figure in figures.items()}
        return Tried(way_of(candidate, agreement=rounded, refused=reason), run)

    def _frames_of(self, candidate: Candidate) -> tuple[Frames, str]:
        """Return the frames to compare on, and a name of them.

        Raises:
            ServableError: those of the export are not there, or there are none for a lower precision.
        """
        variant = candidate.servable.card.variant
        if variant is not None:
            return self._read(variant.reference_sha256), variant.reference_sha256
        for other in self._ways:  # real images say more than made ones
            if other.servable.card.variant is not None:
                sha256 = other.servable.card.variant.reference_sha256
                with suppress(ServableError):
                    return self._read(sha256), sha256
        if candidate.is_reduced:
            raise ServableError(
                "there are no reference frames to prove it on. Export a variant, which brings them."
            )
        return self._made, ""

    def _read(self, sha256: str) -> Frames:
        return read_reference(self._servable.path.parent, self._servable.card.image_input, sha256)

    def _truth(self, frames: Frames, name: str) -> list[Outputs]:
        """Return the model's own outputs for as many of the frames as there is time for."""
        if name not in self._truths:
            plain = Candidate(self._servable.card.precision, Device("cpu"), self._servable)
            calling = self._calling(plain)
            run = calling(lambda: self._opened(plain))

            def fitting_rows() -> list[Outputs]:
                with first_runs(self._servable.path, [run], self._seconds):
                    began = self._clock()
                    rows = [self._row(run, frame) for frame in frames[:LEAST_FRAMES]]
                    seconds = (self._clock() - began) / len(rows)
                    fitting = FRAMES_SECONDS / max(seconds, 1e-9) / (len(self._ways) + 1)
                    more = frames[LEAST_FRAMES : max(LEAST_FRAMES, int(fitting))]
                    return rows + [self._row(run, frame) for frame in more]

            self._truths[name] = calling(fitting_rows)
        return self._truths[name]

    def _calling(self, candidate: Candidate) -> Calling:
        return self._quietly if _is_narrow(candidate) else at_once

    def _opened(self, candidate: Candidate) -> MeasuredRun:
        run = self._open_as(candidate, self._plan(candidate))
        self._runs.append(run)
        return run

    def _row(self, run: MeasuredRun, frame: Frames) -> Outputs:
        outputs = run(frame[None])
        return {name: np.array(outputs[name][0]) for name in self._outputs if name in outputs}

    def _plan(self, candidate: Candidate) -> SessionPlan:
        return plan_session(
            candidate.device,
            largest=1,
            threads=1,
            cache=self._cache,
            arithmetic=candidate.arithmetic,
        )


def _is_narrow(candidate: Candidate) -> bool:
    """Return whether a run uses its caller's thread only: those of other devices would keep its priority."""
    return candidate.device.name == "cpu"


def way_of(
    candidate: Candidate, *, agreement: Mapping[str, float] | None = None, refused: str = ""
) -> Way:
    """Return what is known of a candidate before it is timed."""
    return Way(
        precision=candidate.precision,
        device=candidate.device.name,
        seven_bits=candidate.seven_bits,
        agreement=dict(agreement or {}),
        refused=refused,
    )
