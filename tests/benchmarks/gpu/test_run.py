"""A run of small steps in real processes: in order, in time, with the results on disk, and continued."""

import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.run import Plan, child_environment, run_steps
from benchmarks.gpu.steps import Step, all_steps
from benchmarks.gpu.summary import problems

ORDERED = """
    import json, signal
    from pathlib import Path

    def on_processor(order, report):
        report({"cuda": {"works": False, "reason": "no driver"}})

    def on_gpu(order, report):
        report({"cuda": {"works": True}, "card": {"name": "A card"}})

    def tells(order, report):
        report({"device": order.device, "stand_in": order.stand_in, **order.arguments})
        with (order.out / "ran").open("a") as file:
            file.write(order.arguments["name"])

    def hangs(order, report):
        report({"before": 1})
        signal.pause()

    def fails(order, report):
        report({"before": 1})
        raise ValueError("the network is broken")
"""
PROGRAM = (
    "import sys; sys.path.insert(0, {folder!r}); "
    "from benchmarks.gpu.step import main; sys.exit(main(sys.argv[1:]))"
)


def step(name: str, function: str, weight: float = 1, needs: tuple[str, ...] = ()) -> Step:
    return Step(name, f"ordered_steps:{function}", weight, {"name": name}, needs)


def run(
    tmp_path: Path, *steps: Step, seconds: float = 60, device: str = "auto", again: bool = False
) -> tuple[Journal, list[str]]:
    (tmp_path / "ordered_steps.py").write_text(textwrap.dedent(ORDERED))
    program = (sys.executable, "-c", PROGRAM.format(folder=str(tmp_path)))
    journal, lines = Journal(tmp_path, again=again), list[str]()
    run_steps(Plan(tmp_path, device, steps, program), journal, Budget(seconds), lines.append)
    return journal, lines


def test_without_a_gpu_the_cpu_stands_in_and_every_step_is_marked(tmp_path: Path) -> None:
    journal, _ = run(tmp_path, step("environment", "on_processor"), step("a", "tells"))

    assert journal.findings("a") == {"device": "cpu", "stand_in": True, "name": "a"}
    assert journal.content["steps"]["a"]["stand_in"] is True
    assert journal.content["stand_in"] is True


def test_where_cuda_works_it_is_used_and_the_card_is_named(tmp_path: Path) -> None:
    journal, _ = run(tmp_path, step("environment", "on_gpu"), step("a", "tells"))

    assert journal.findings("a")["device"] == "cuda"
    assert (journal.content["card"], journal.content["stand_in"]) == ("A card", False)


def test_the_cpu_that_is_named_stands_in_even_beside_a_gpu(tmp_path: Path) -> None:
    journal, _ = run(tmp_path, step("environment", "on_gpu"), step("a", "tells"), device="cpu")

    assert journal.findings("a")["stand_in"] is True
    assert journal.content["card"] == ""


def test_a_gpu_that_is_named_and_does_not_work_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    journal, lines = run(
        tmp_path, step("environment", "on_processor"), step("a", "tells"), device="cuda"
    )

    assert "a" not in journal.content["steps"]
    assert "no driver" in lines[-1]


def test_a_step_that_hangs_costs_its_own_share_and_the_others_run(tmp_path: Path) -> None:
    began = time.monotonic()
    journal, _ = run(
        tmp_path,
        step("environment", "on_processor", 6),
        step("a", "hangs", 1),
        step("b", "fails", 6),
        step("c", "tells", 6),
        seconds=24,
    )

    steps = journal.content["steps"]
    assert [steps[name]["status"] for name in "abc"] == ["killed", "failed", "done"]
    assert steps["a"]["findings"] == {"before": 1}
    assert "the network is broken" in steps["b"]["detail"]
    assert len(problems(journal.content)) == 2
    assert time.monotonic() - began < 24, "the run ends by then, whatever happens"


def test_the_next_run_goes_on_and_again_begins_again(tmp_path: Path) -> None:
    steps = (step("environment", "on_processor"), step("a", "tells"), step("b", "tells"))
    run(tmp_path, *steps[:2])
    run(tmp_path, *steps)
    assert (tmp_path / "ran").read_text() == "ab"

    run(tmp_path, *steps, again=True)

    assert (tmp_path / "ran").read_text() == "abab"


def test_a_step_whose_package_is_missing_is_skipped_and_is_no_problem(tmp_path: Path) -> None:
    steps = (step("environment", "on_processor"), step("a", "tells", needs=("sys", "no_such_one")))
    journal, _ = run(tmp_path, *steps)

    assert journal.content["steps"]["a"]["status"] == "skipped"
    assert "no_such_one can not" in journal.content["steps"]["a"]["detail"]
    assert not problems(journal.content)


def test_without_time_steps_are_skipped(tmp_path: Path) -> None:
    journal, _ = run(tmp_path, step("a", "tells"), seconds=0.5)

    assert journal.content["steps"]["a"]["status"] == "skipped"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("one", all_steps(["glance", "lenet5"]), ids=lambda one: one.name)
def test_the_function_of_every_step_exists(one: Step) -> None:
    for package in one.needs:
        pytest.importorskip(package)
    module, _, name = one.function.partition(":")

    assert callable(getattr(pytest.importorskip(module), name))


def test_each_model_is_checked_once() -> None:
    checked = [
        one.arguments["model"]
        for one in all_steps(["b", "a", "efficientnet-lite0"])
        if one.name.startswith("check ")
    ]

    assert sorted(checked) == ["a", "b", "efficientnet-lite0", "resnet50"]


def test_a_step_finds_this_checkout_before_what_is_installed(tmp_path: Path) -> None:
    found = child_environment({"PYTHONPATH": str(tmp_path), "HOME": "/home"})

    first, *rest = found["PYTHONPATH"].split(":")
    assert (Path(first) / "benchmarks" / "gpu").is_dir()
    assert rest == [str(tmp_path)]
    assert found["HOME"] == "/home"
