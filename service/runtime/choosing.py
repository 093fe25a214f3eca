"""Which way to serve a model is the fastest of those that agree with fp32: measured on this machine, and kept.

docs/decisions/0027 says why, and 0028 where the reference frames come from.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import ServableError, for_clients
from service.logs import LOGGER
from service.runtime.alone import alone_in
from service.runtime.candidates import Candidate, candidates_for
from service.runtime.chip import Chip
from service.runtime.choice import Choice, Way
from service.runtime.choice_cache import ChoiceCache
from service.runtime.device import Device
from service.runtime.first_runs import FIRST_RUNS_SECONDS
from service.runtime.low_priority import Calling
from service.runtime.measuring import (
    Comparison,
    MeasuredRun,
    Measuring,
    OpenCandidate,
    open_candidate,
    way_of,
)
from service.runtime.repository import Servable
from service.runtime.saturation import products_saturate
from service.runtime.tuning import Clock, thread_clock
from service.runtime.variants import variants_beside

log = logging.getLogger(LOGGER)

WORTH_A_CHANGE = 1.05
"""Another way must be so many times as fast as the first: less may be noise, and the first is exact."""

Admit = Callable[[Servable], None]
"""Raises ServableError where a file may not be loaded."""


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses how each model is served.

    Attributes:
        devices: where models may run, the preferred one first.
        comparisons: by task; a model of another task is served as it is.
        cache: folder for choices, and for what devices compile.
        chip: the processor.
        clock: returns seconds.
        narrow_clock: returns seconds of the calling thread on a core; times runs at a low priority.
        saturates: whether the processor's products of bytes overflow.
        open_as: opens a candidate.
        seconds: how long the runs of a candidate may take.
    """

    devices: tuple[Device, ...]
    comparisons: Mapping[str, Comparison]
    cache: Path
    chip: Chip
    clock: Clock
    saturates: Callable[[], bool] = products_saturate
    open_as: OpenCandidate = open_candidate
    seconds: float = FIRST_RUNS_SECONDS
    narrow_clock: Clock = thread_clock

    def choose(
        self,
        servable: Servable,
        outputs: Collection[str],
        admit: Admit,
        at_low_priority: Calling | None = None,
    ) -> tuple[Candidate, Choice | None]:
        """Return how a model is served; blocking, for seconds where nothing is kept of it.

        Args:
            servable: the model.
            outputs: the names of the outputs that are compared.
            admit: checks a variant.
            at_low_priority: makes the runs on a CPU where requests for others go first; None: they are made at once.

        Returns:
            The way that serves, and what was measured; None where there was nothing to choose.
        """
        task = servable.card.task
        if servable.card.input is None or task not in self.comparisons:
            return Candidate(servable.card.precision, self.devices[0], servable), None
        variants, refused = _admitted(servable, admit)
        saturates = "int8" in variants and self.saturates()
        ways = tuple(
            candidates_for(servable, variants, self.devices, self.chip, saturates=saturates)
        )
        kept = ChoiceCache(self.cache / "precision")
        key = kept.key(servable, ways, self.chip)
        with alone_in(kept.folder):  # several workers start at the same time
            choice = kept.read(key, len(ways))
            if choice is None:
                measuring = Measuring(
                    servable,
                    (*outputs, "features"),
                    self.comparisons[task],
                    ways=ways,
                    cache=self.cache,
                    clock=self.clock,
                    seconds=self.seconds,
                    open_as=self.open_as,
                    at_low_priority=at_low_priority,
                    narrow_clock=self.narrow_clock,
                )
                choice = self._measured(measuring, ways)
                kept.write(key, choice)
        choice = choice.model_copy(update={"ways": (*choice.ways, *refused)})
        _report(servable, choice)
        return ways[choice.place], choice

    def _measured(self, measuring: Measuring, ways: Sequence[Candidate]) -> Choice:
        """Compare and time the ways; the first serves where no other is proved and faster."""
        chip = str(self.chip)
        if len(ways) == 1:
            return Choice(chip=chip, frames=0, ways=(way_of(ways[0]),)).serving(0)
        tried = [measuring.tried(way) for way in ways]
        found = [one.way for one in tried]
        runs: dict[int, MeasuredRun] = {
            place: one.run
            for place, one in enumerate(tried)
            if one.run is not None and not one.way.refused
        }
        seconds = measuring.seconds_of_each(runs, on_gpu=self.devices[0].is_gpu)
        for place, each in seconds.items():
            found[place] = found[place].timed(each, seconds.get(0))
        choice = Choice(chip=chip, frames=measuring.count, ways=tuple(found))
        return choice.serving(_fastest(seconds))


def _admitted(servable: Servable, admit: Admit) -> tuple[dict[str, Servable], list[Way]]:
    """Return the variants that may be loaded, and the others as ways with the reasons."""
    variants: dict[str, Servable] = {}
    refused: list[Way] = []
    for precision, found in variants_beside(servable):
        try:
            if isinstance(found, ServableError):
                raise found
            admit(found)
            variants[precision] = found
        except ServableError as error:
            log.error("%s: the variant in %s is not used: %s", servable.name, precision, error)
            reason = for_clients(str(error), servable.path)
            refused.append(Way(precision=precision, device="", refused=reason))
    return variants, refused


def _fastest(seconds: Mapping[int, float]) -> int:
    """Return the place of the fastest way; the first, unless another is clearly faster."""
    if not seconds:
        return 0
    best = min(seconds, key=lambda place: seconds[place])
    if 0 in seconds and seconds[0] < WORTH_A_CHANGE * seconds[best]:
        return 0
    return best


def _report(servable: Servable, choice: Choice) -> None:
    name = f"{servable.name} version {servable.version}"
    log.info("%s is served in %s: %s", name, choice.served, choice.served.figures or "the only way")
    for way in choice.ways:
        if not way.serves:
            if way.refused:
                log.info("%s is not served in %s: %s", name, way, way.refused)
            else:
                log.info("%s could be served in %s as well: %s", name, way, way.figures)
