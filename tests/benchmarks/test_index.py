import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.contenders import FOVEAL, FOVEAL_FAST, LIMIT, PEER_NAMES, with_int8_file
from benchmarks.index import INDEX, RESULTS, pages_of, write_index
from benchmarks.machine import Machine
from benchmarks.report import Run, write_report
from benchmarks.results import CaseResult
from benchmarks.statistics import Sample


def a_machine(*flags: str) -> Machine:
    return Machine("Some(R) Chip CPU @ 2 GHz", 4.0, 16.0, flags, "Linux", "3.11.7", {})


def a_run(
    folder: Path,
    flags: tuple[str, ...],
    ours: float,
    *,
    missing: tuple[str, ...] = (),
    case: str = "efficientnet-640",
    fast: float | None = None,
) -> None:
    rates = {FOVEAL: ours, LIMIT: 100.0, PEER_NAMES[0]: 50.0}
    if fast is not None:
        rates |= {FOVEAL_FAST: fast, with_int8_file(LIMIT): 200.0}
        rates[with_int8_file(PEER_NAMES[0])] = 150.0
    samples = {name: Sample(rate, 100, 0, 1.0) for name, rate in rates.items()}
    result = CaseResult(case, rounds={32: [samples]})
    run = Run(
        folder.name[:10],
        a_machine(*flags),
        "wrk",
        1,
        "python -m benchmarks --quick",
        (result,),
        missing=missing,
    )
    write_report(run, folder, [])


def test_the_committed_pages_are_made_of_the_committed_results() -> None:
    for name, text in pages_of().items():
        assert (RESULTS / name).read_text() == text, "run python -m benchmarks.index"


def test_a_chip_has_a_page_for_each_level_of_its_instructions(tmp_path: Path) -> None:
    a_run(tmp_path / "2026-01-01-a", ("avx2",), 80)
    a_run(tmp_path / "2026-01-02-b", ("avx2", "avx512", "avx512-vnni"), 90)
    a_run(tmp_path / "2026-01-03-c", ("avx2", "amx-int8"), 95, missing=("lenet",))

    pages = pages_of(tmp_path)

    assert sorted(pages) == [
        "README.md",
        "processors/some-chip-amx-4-cores.md",
        "processors/some-chip-avx2-4-cores.md",
        "processors/some-chip-avx512-vnni-4-cores.md",
    ]
    amx = pages["processors/some-chip-amx-4-cores.md"]
    assert "0.95 | 1.90" in amx
    assert "not whole, quick" in amx
    assert "0.80 | 1.60" not in amx
    assert pages[INDEX].count("0.80 | 1.60") == 1


def test_a_run_of_the_goals_counts_too_and_has_what_fast_reaches(tmp_path: Path) -> None:
    a_run(tmp_path / "2026-01-01-goals", ("avx512-vnni",), 80, case="goal-efficientnet", fast=180)

    pages = pages_of(tmp_path)

    assert "0.80 | 1.60" in pages[INDEX]
    page = pages["processors/some-chip-avx512-vnni-4-cores.md"]
    assert "EfficientNet-Lite0, 640×480 JPEG | 0.80 | 1.60 |" in page
    assert "EfficientNet-Lite0, 640×480 JPEG | 0.90 | 1.20 | 3.60 |" in page


def test_the_row_is_of_the_newest_run_that_has_its_figures(tmp_path: Path) -> None:
    a_run(tmp_path / "2026-01-01-a", ("avx2",), 80)
    a_run(tmp_path / "2026-01-02-b", ("avx2",), 90, case="goal-resnet50")

    assert "[2026-01-01](2026-01-01-a/README.md), quick" in pages_of(tmp_path)[INDEX]


def test_the_page_of_a_processor_without_results_is_removed(tmp_path: Path) -> None:
    a_run(tmp_path / "2026-01-01-a", ("avx2",), 80)
    old = tmp_path / "processors" / "gone.md"
    old.parent.mkdir()
    old.write_text("nothing")

    write_index(tmp_path)

    assert not old.exists()
    assert len(list(old.parent.iterdir())) == 1


def test_results_of_mlperfs_generator_are_named_unofficial(tmp_path: Path) -> None:
    machine = a_machine("avx2")
    folder = tmp_path / "mlperf" / machine.slug
    folder.mkdir(parents=True)
    result = {
        "model": "resnet50",
        "scenario": "Offline",
        "valid": True,
        "generator": "6.0.17",
        "per_second": 21.5,
        "p90_ms": 1.0,
        "p99_ms": 2.0,
        "reason": "",
        "date": "2026-01-01",
        "commit": "a",
        "precision": "cpu fp32",
        "seconds": 60.0,
        "failed": 0,
        "foreign_cores": 0.0,
        "sender_cores": 0.1,
        "bound_ms": None,
        "rate": None,
    }
    content = {"machine": asdict(machine), "results": [result]}
    (folder / "results.json").write_text(json.dumps(content))

    (page,) = (text for name, text in pages_of(tmp_path).items() if name != INDEX)

    assert "unofficial" in page
    assert "| resnet50 | Offline | 21.5 images/s | yes |" in page
