"""`python -m benchmarks.gpu`: does the service run on this GPU as it should, and how fast; ends when it must.

Only the standard library is imported here: a package that is missing costs the steps that need it, and no others.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.child import run_child
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.order import Order
from benchmarks.gpu.run import ROOT, Plan, child_environment, run_steps
from benchmarks.gpu.steps import ENVIRONMENT, Step, all_steps
from benchmarks.gpu.summary import MARKDOWN, problems, write_page

DRAW = Step("plot", "benchmarks.gpu.plot:draw_step", 1)


def main() -> int:
    """Run the steps, then write the page and the plot; return 0 where everything was seen and holds."""
    options = _options()
    # A SIGTERM becomes an exception, so that the run also ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    budget = Budget(options.seconds)
    journal = Journal(options.out, again=options.again)
    if journal.forgotten:
        _print(f"The run begins again: {journal.forgotten}")
    if not options.draw:
        steps = _chosen(options.only)
        run_steps(Plan(options.out.absolute(), options.device, steps), journal, budget, _print)
    _draw(options.out.absolute(), budget)
    write_page(journal.content, options.out)
    _print(f"written: {options.out / MARKDOWN}")
    found = problems(journal.content)
    for one in found:
        _print(f"NOT RIGHT: {one}")
    return 1 if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Checks and measures the service on a GPU. Without one, the CPU stands in for it: that "
        "proves this program, and no figure.",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for gpu.json, page and plot"
    )
    parser.add_argument("--seconds", type=float, default=540.0, help="the run ends by then")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument(
        "--again", action="store_true", help="begin again, instead of going on where a run ended"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="STEP", help="run the steps so named only"
    )
    parser.add_argument(
        "--draw", action="store_true", help="run nothing; make page and plot from gpu.json"
    )
    return parser.parse_args()


def _chosen(only: list[str]) -> list[Step]:
    # Folders of chains have no versions.
    models = sorted({path.parents[1].name for path in (ROOT / "models").glob("*/*/model.onnx")})
    steps = all_steps(models)
    if not only:
        return list(steps)
    known = {word for step in steps for word in (step.name, step.name.split()[0])}
    if unknown := [name for name in only if name not in known]:
        sys.exit(f"There is no step {', '.join(unknown)}. Steps: {', '.join(sorted(known))}")
    needed = {ENVIRONMENT, "network", *only}
    return [step for step in steps if step.name in needed or step.name.split()[0] in needed]


def _draw(out: Path, budget: Budget) -> None:
    """Draw in a process of its own: Matplotlib may be missing, and takes seconds to import."""
    seconds = max(5.0, budget.left() - 1.0)
    order = Order(DRAW.function, "", seconds, out)
    ending = run_child(
        [sys.executable, "-m", "benchmarks.gpu.step", order.to_json()],
        seconds=seconds,
        environment=child_environment(os.environ),
        log=out / "logs" / "plot.log",
        receive=lambda _: None,
    )
    if ending.status != "done":
        _print(f"There is no plot: {ending.detail} Draw it elsewhere with --draw.")


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
