from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.contenders import FOVEAL, LIMIT, LIMIT_ONE_BY_ONE, LIMIT_UNDECODED
from benchmarks.journal import Journal
from benchmarks.load import GENERATORS
from benchmarks.plan import Plan
from benchmarks.results import Facts
from benchmarks.statistics import Sample
from benchmarks.time_left import START, TURN, TimeLeft, missing_rounds, plan_time

IDENTITY = {"machine": "a-chip-2-cores", "commit": "0123456789ab"}
NAMES = [FOVEAL, LIMIT, LIMIT_UNDECODED, LIMIT_ONE_BY_ONE]


def a_journal(folder: Path, commit: str = "0123456789ab", *, again: bool = False) -> Journal:
    return Journal(folder, IDENTITY | {"commit": commit}, today="2026-11-27", again=again)


def a_round(rate: float) -> dict[str, Sample]:
    return {name: Sample(rate, 100, 0, 1.5, p50_ms=8.0, p99_ms=9.0) for name in NAMES}


def a_plan(rounds: int = 3) -> Plan:
    return Plan(
        GENERATORS["wrk"],
        cores=2,
        rounds=rounds,
        shorten=0.5,
        quick=True,
        peers=False,
        devices=(),
        retune=False,
        progress=lambda _: None,
    )


def a_case() -> Case:
    return next(case for case in CASES if case.name == "efficientnet-640")


def test_a_killed_run_goes_on_with_its_rounds_and_facts(tmp_path: Path) -> None:
    killed = a_journal(tmp_path)
    killed.result_of("lenet").facts["foveal"] = Facts("cpu fp32", peak_memory_mib=480.5)
    killed.keep_facts("lenet")
    killed.add_round("lenet", 32, a_round(100.25))
    killed.add_round("lenet", 32, a_round(90.5))

    next_one = a_journal(tmp_path)

    assert next_one.continued == 2
    assert next_one.result_of("lenet") == killed.result_of("lenet")
    assert next_one.result_of("lenet").at(32)[1][FOVEAL].images_per_second == 90.5


def test_a_line_that_was_cut_off_is_left_out_and_does_not_spoil_the_next_one(
    tmp_path: Path,
) -> None:
    killed = a_journal(tmp_path)
    killed.add_round("lenet", 32, a_round(100))
    killed.add_round("lenet", 32, a_round(90))
    content = killed.file.read_bytes()
    killed.file.write_bytes(content[:-20])

    next_one = a_journal(tmp_path)
    next_one.add_round("lenet", 32, a_round(80))

    rates = [one[FOVEAL].images_per_second for one in a_journal(tmp_path).result_of("lenet").at(32)]
    assert rates == [100, 80]


def test_another_commit_and_an_ended_run_begin_anew(tmp_path: Path) -> None:
    killed = a_journal(tmp_path)
    killed.add_round("lenet", 32, a_round(100))

    assert a_journal(tmp_path, "ba9876543210").continued == 0
    assert a_journal(tmp_path).continued == 1
    assert a_journal(tmp_path, again=True).continued == 0
    assert a_journal(tmp_path).continued == 0


def test_rounds_of_other_contenders_are_forgotten_for_good(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.add_round("lenet", 1, a_round(7))
    journal.add_round("lenet", 32, a_round(100))
    journal.forget_rounds("lenet", 32)
    journal.add_round("lenet", 32, a_round(50))

    found = a_journal(tmp_path).result_of("lenet")

    assert [one[FOVEAL].images_per_second for one in found.at(32)] == [50]
    assert len(found.at(1)) == 1


def test_only_the_rounds_that_a_journal_lacks_are_measured(tmp_path: Path) -> None:
    journal, case = a_journal(tmp_path), a_case()
    for rate in (90, 100, 110):
        journal.add_round(case.name, 1, a_round(rate))
    journal.add_round(case.name, 32, a_round(100))

    assert missing_rounds(case, a_plan(), journal.result_of(case.name)) == {32: 2}
    assert missing_rounds(case, a_plan(1), journal.result_of(case.name)) == {}


def test_what_a_journal_holds_takes_no_more_time(tmp_path: Path) -> None:
    journal, case = a_journal(tmp_path), a_case()
    result = journal.result_of(case.name)
    all_of_it = plan_time([case], a_plan(), [result]).seconds()
    for rate in (90, 100, 110):
        journal.add_round(case.name, 1, a_round(rate))
    half = plan_time([case], a_plan(), [result]).seconds()
    for rate in (90, 100, 110):
        journal.add_round(case.name, 32, a_round(rate))

    assert 0 < half < all_of_it
    assert plan_time([case], a_plan(), [result]).seconds() == 0


def test_the_time_left_follows_the_pace_of_what_is_done() -> None:
    left = TimeLeft()
    left.plan(START, 40)
    left.plan(TURN, 100)

    assert (left.seconds(), str(left)) == (140, "about 3 min left")

    left.did(TURN, 50, took=100)

    assert left.seconds() == 40 + 100

    left.did(START, 40, took=10)
    left.did(TURN, 60, took=60)

    assert (left.seconds(), str(left)) == (0, "less than a minute left")
