"""Measures a case: starts all contenders, then in each round gives each one a turn under the same load."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.cases import Case, Load
from benchmarks.journal import Journal
from benchmarks.plan import Plan, taking_part
from benchmarks.results import CaseResult
from benchmarks.starting import Starter
from benchmarks.statistics import Sample
from benchmarks.subject import make_subject
from benchmarks.time_left import (
    TURN,
    WARM_SECONDS,
    TimeLeft,
    missing_rounds,
    turn_seconds,
    warm_seconds,
)
from benchmarks.turns import Contender


@dataclass(frozen=True, slots=True)
class Runner:
    """Measures cases of a run, and keeps each round in its journal."""

    plan: Plan
    journal: Journal
    left: TimeLeft

    def run(self, case: Case) -> CaseResult:
        """Start all contenders, measure the rounds that the journal does not hold yet, end the contenders.

        Raises:
            ExportError: the export of the case's network failed.
        """
        plan = self.plan
        result = self.journal.result_of(case.name)
        missing = missing_rounds(case, plan, result)
        if not missing:
            plan.progress("  measured before this run was interrupted")
            return result
        subject = make_subject(case, plan.generator, plan.cores)
        with ExitStack() as stack:
            running = Starter(plan, subject, result, stack, self.left).start_all()
            self.journal.keep_facts(case.name)
            for load in plan.loads(case):
                chosen = {name: running[name] for name in taking_part(load, running)}
                if chosen and load.clients in missing:
                    self._run_load(case, load, chosen)
                    self.journal.keep_facts(case.name)
        return result

    def _run_load(self, case: Case, load: Load, chosen: Mapping[str, Contender]) -> None:
        known = self.journal.result_of(case.name).at(load.clients)
        if known and known[0].keys() != chosen.keys():
            self.journal.forget_rounds(case.name, load.clients)
            known = []
        for contender in chosen.values():
            self._turn(contender, load, WARM_SECONDS, expected=warm_seconds())
        for number in range(len(known), self.plan.rounds):
            samples = self._round(case, load, chosen, number)
            self.journal.add_round(case.name, load.clients, samples)
            self.plan.progress(f"  {self.left}")

    def _round(
        self, case: Case, load: Load, chosen: Mapping[str, Contender], number: int
    ) -> dict[str, Sample]:
        """Measure each contender once, in an order that shifts from round to round."""
        names = list(chosen)
        start = number * max(1, len(names) // self.plan.rounds) % len(names)
        seconds, expected = self.plan.turn_seconds(case), turn_seconds(case, self.plan)
        samples = {}
        for name in (*names[start:], *names[:start]):
            sample = self._turn(chosen[name], load, seconds, expected=expected)
            samples[name] = sample
            latency = f", p50 {sample.p50_ms:.1f} ms" if sample.p50_ms else ""
            errors = f", {sample.errors} errors" if sample.errors else ""
            self.plan.progress(
                f"  {case.name}, {load.clients} clients, round {number + 1}: {name} "
                f"{sample.images_per_second:.1f} images/s{latency}{errors}"
            )
        return samples

    def _turn(self, contender: Contender, load: Load, seconds: float, *, expected: float) -> Sample:
        began = time.perf_counter()
        sample = contender.measure(load.clients, seconds)
        self.left.did(TURN, expected, time.perf_counter() - began)
        return sample
