"""The goals: which contenders take part, what is compared with what, and how far answers agree."""

from pathlib import Path

import pytest

from benchmarks import targets
from benchmarks.agreement import Answer, count_agreement
from benchmarks.cases import Case
from benchmarks.contenders import FOVEAL, FOVEAL_FAST, LIMIT, with_int8_file
from benchmarks.goals import AMX, GOALS, PEERS, VNNI
from benchmarks.load import GENERATORS
from benchmarks.machine import Machine
from benchmarks.plan import Plan, taking_part
from benchmarks.report import Run, write_report
from benchmarks.results import CaseResult, Facts
from benchmarks.statistics import Sample
from benchmarks.time_left import START, TUNE, start_kind

RATES = {
    FOVEAL: 120.0,
    LIMIT: 125.0,
    "mosec": 100.0,
    FOVEAL_FAST: 220.0,
    with_int8_file("mosec"): 200.0,
    with_int8_file(LIMIT): 240.0,
}


def a_case(name: str) -> Case:
    return next(case for case in GOALS if case.name == name)


def a_plan() -> Plan:
    return Plan(
        GENERATORS["wrk"],
        cores=2,
        rounds=5,
        shorten=1.0,
        quick=False,
        peers=True,
        devices=(),
        retune=True,
        progress=lambda _: None,
    )


def a_page(folder: Path, name: str, *flags: str) -> str:
    rounds = [{one: Sample(rate, 100, 0, 1.0) for one, rate in RATES.items()}]
    facts = {one: Facts() for one in RATES}
    facts[FOVEAL_FAST] = Facts(
        "cpu int8", agreement=count_agreement([Answer(3, 0.5, 0.8, 3, 0.75)])
    )
    machine = Machine("Some Chip", 2.0, 16.0, flags, "Linux", "3.11.7", {})
    result = CaseResult(name, facts, {32: rounds})
    write_report(Run("2026-11-27", machine, "wrk", 1, "bench", (result,)), folder, [])
    return (folder / "README.md").read_text()


def test_the_service_in_fast_and_peers_with_its_file_take_part_only_where_a_case_says_so() -> None:
    fast, whole = (a_plan().contenders(a_case(name)) for name in ("goal-resnet50", "goal-12mp"))

    assert whole == [FOVEAL, LIMIT, *PEERS]
    in_int8 = [FOVEAL_FAST, *map(with_int8_file, (LIMIT, *PEERS))]
    assert fast == [FOVEAL, LIMIT, *PEERS, *in_int8]
    assert taking_part(a_case("goal-resnet50").loads[0], fast) == fast


def test_a_peer_is_tuned_for_each_of_the_two_files() -> None:
    tuned: set[tuple[str, str]] = set()
    names = ["mosec", with_int8_file("mosec"), FOVEAL_FAST, with_int8_file(LIMIT)]

    kinds = [start_kind(name, a_case("goal-resnet50"), a_plan(), tuned) for name in names]

    assert kinds == [TUNE, TUNE, START, START]
    assert tuned == {("mosec", "resnet50"), ("mosec", "resnet50 int8")}


def test_fast_is_compared_with_peers_in_fp32_and_with_those_that_have_its_file(
    tmp_path: Path,
) -> None:
    page = a_page(tmp_path, "goal-resnet50", "avx2", VNNI)

    assert "| × the best peer, foveal fast | ≥ 2.2 | 2.20 | met |" in page
    assert "| × the best peer with the same int8 file, foveal fast | ≥ 1.05 | 1.10 | met |" in page
    assert "| × the best peer, foveal fast | ≥ 4 | needs a chip with AMX | does not apply |" in page


def test_goals_of_other_chips_do_not_apply(tmp_path: Path) -> None:
    page = a_page(tmp_path, "goal-efficientnet", "avx2")

    assert f"needs a chip with {VNNI.upper()} | does not apply" in page
    assert f"needs a chip with {AMX.upper()} | does not apply" in page
    assert "| × the best peer | ≥ 1.25 | 1.20 | **not met** |" in page


def test_the_page_says_how_far_fast_agrees_with_exact(tmp_path: Path) -> None:
    assert "| cpu int8 | 1 of 1 | 1 of 1 | 0.0500 | 0.0500 |" in a_page(tmp_path, "goal-resnet50")


def test_the_share_of_the_limit_in_fast_is_that_of_the_limit_with_the_same_file(
    tmp_path: Path,
) -> None:
    page = a_page(tmp_path, "goal-resnet50")

    assert "| **foveal fast** | 220 | 0.92 |" in page
    assert "| **foveal** | 120 | 0.96 |" in page


def test_every_class_counts_and_clear_ones_apart() -> None:
    figures = count_agreement(
        [
            Answer(1, 0.6, 0.7, 1, 0.6),  # clear, kept
            Answer(1, 0.6, 0.7, 2, 0.3),  # clear, lost
            Answer(1, 0.05, 0.3, 2, 0.28),  # a near tie, lost
        ]
    )

    assert (figures["images"], figures["kept"]) == (3, 1)
    assert (figures["clear"], figures["clear_kept"]) == (2, 1)
    assert figures["largest_change"] == pytest.approx(0.4)
    assert figures["mean_change"] == pytest.approx((0.1 + 0.4 + 0.02) / 3)


def test_goals_that_were_not_measured_have_no_figure() -> None:
    every = [target for case in GOALS for target in case.targets]

    assert all(target.measure(CaseResult("case")) is None for target in every)
    assert targets.of_peers_with_the_int8_file(1, needs=VNNI).needs == VNNI
