"""A run: one step after the other, each within its time, with the results on disk after each finding."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.child import Ending, run_child
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.order import Order
from benchmarks.gpu.steps import ENVIRONMENT, Step

ROOT = Path(__file__).parents[2]
LEAST_SECONDS = 1.0
"""A step is skipped where it would get less."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a run.

    Attributes:
        out: the folder of the results.
        device: `auto`, `cuda` or `cpu`.
        steps: what is run, the environment first.
        program: the command of a step's process, without its order.
    """

    out: Path
    device: str
    steps: Sequence[Step]
    program: Sequence[str] = (sys.executable, "-m", "benchmarks.gpu.step")


def run_steps(plan: Plan, journal: Journal, budget: Budget, progress: Progress) -> None:
    """Run the steps that are not done yet; none of them can keep the run from ending in time."""
    left = list(plan.steps)
    device = plan.device
    while left:
        step = left.pop(0)
        if step.name != ENVIRONMENT and journal.is_done(step.name):
            progress(f"{step.name}: kept from the last run")
            continue
        weights = [one.weight for one in (step, *left) if not journal.is_done(one.name)]
        limit = budget.limit(weights or [step.weight])
        ending = _run(plan, step, device, limit, journal)
        progress(_line(step, ending, budget))
        if step.name == ENVIRONMENT:
            chosen = _chosen(plan, journal)
            if not chosen:
                progress(f"{device} does not work here: {_reason(journal, ending)}")
                return
            device = chosen
            if journal.forgotten:
                progress(f"All steps run again: {journal.forgotten}")


def _run(plan: Plan, step: Step, device: str, limit: float, journal: Journal) -> Ending:
    facts = {} if step.name == ENVIRONMENT else {"device": device, "stand_in": device != "cuda"}
    journal.begin(step.name, limit_seconds=round(limit, 1), **facts)
    missing = [package for package in step.needs if find_spec(package) is None]
    if missing:
        ending = Ending("skipped", 0.0, f"{' and '.join(missing)} can not be imported.")
    elif limit < LEAST_SECONDS:
        ending = Ending("skipped", 0.0, "The time of the run was over.")
    else:
        order = Order(step.function, device, limit, plan.out, dict(step.arguments))
        ending = run_child(
            [*plan.program, order.to_json()],
            seconds=limit,
            environment=child_environment(os.environ),
            log=plan.out / "logs" / f"{step.name.replace(' ', '-')}.log",
            receive=lambda found: journal.add(step.name, found),
        )
    journal.end(step.name, ending)
    return ending


def _chosen(plan: Plan, journal: Journal) -> str:
    """Return the device of the other steps; empty where the one that was named does not work."""
    found = journal.findings(ENVIRONMENT)
    works = bool(found.get("cuda", {}).get("works"))
    if plan.device == "cuda" and not works:
        return ""
    device = "cuda" if works and plan.device != "cpu" else "cpu"
    card = found.get("card", {}).get("name", "") if device == "cuda" else ""
    machine = found.get("machine", {}).get("processor", "")
    journal.settle(device=device, stand_in=device != "cuda", card=card, processor=machine)
    return device


def _reason(journal: Journal, ending: Ending) -> str:
    found = journal.findings(ENVIRONMENT).get("cuda", {})
    return str(found.get("reason") or ending.detail or "the environment step says nothing")


def _line(step: Step, ending: Ending, budget: Budget) -> str:
    why = f": {ending.detail}" if ending.detail else ""
    return (
        f"{step.name}: {ending.status} in {ending.seconds:.1f} s, {budget.left():.0f} s left{why}"
    )


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a step: it finds this checkout, and the CUDA libraries of PyPI's packages.

    ONNX Runtime looks for those beside itself only, and then where the loader looks. Installed with `--target`, it
    lies elsewhere than they do.
    """
    folders = [*map(str, nvidia_folders()), environment.get("LD_LIBRARY_PATH", "")]
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders)),
    }


def nvidia_folders() -> list[Path]:
    """Return the folders with shared libraries of the packages `nvidia-…`, where there are any."""
    spec = find_spec("nvidia")
    places: Any = (spec.submodule_search_locations if spec else None) or ()
    return sorted({file.parent for place in places for file in Path(place).glob("**/lib/*.so*")})
