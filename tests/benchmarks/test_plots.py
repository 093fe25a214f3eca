"""What the plots compare with what: each contender with the limit of the file that it ran."""

from pathlib import Path

import pytest

from benchmarks.contenders import FOVEAL, FOVEAL_FAST, LIMIT, with_int8_file
from benchmarks.plots import draw_plots, throughput_panels
from benchmarks.results import CaseResult, Facts
from benchmarks.statistics import Sample

RATES = {
    FOVEAL: 80.0,
    LIMIT: 100.0,
    "mosec": 50.0,
    FOVEAL_FAST: 180.0,
    with_int8_file(LIMIT): 200.0,
    with_int8_file("mosec"): 160.0,
}
TITLE = "ResNet-50, 640×480 JPEG"


def a_result(served: str) -> CaseResult:
    samples = {name: Sample(rate, 100, 0, 1.0) for name, rate in RATES.items()}
    facts = {name: Facts() for name in RATES} | {FOVEAL_FAST: Facts(f"cpu {served}")}
    return CaseResult("goal-resnet50", facts, {32: [samples]})


def shares(result: CaseResult) -> dict[str, dict[str, float]]:
    return {
        title: {name: ratio.median for name, ratio, _ in bars}
        for title, bars in throughput_panels(result)
    }


def test_what_ran_the_int8_file_is_compared_with_the_limit_of_that_file_in_a_panel_of_its_own() -> (
    None
):
    assert shares(a_result("int8")) == {
        TITLE: {"mosec": pytest.approx(0.5), FOVEAL: pytest.approx(0.8)},
        f"{TITLE}, int8 file": {"mosec": pytest.approx(0.8), FOVEAL_FAST: pytest.approx(0.9)},
    }


def test_the_service_in_fast_that_serves_fp32_is_compared_with_the_limit_in_fp32() -> None:
    found = shares(a_result("fp32"))
    assert found[TITLE][FOVEAL_FAST] == pytest.approx(1.8)
    assert found[f"{TITLE}, int8 file"] == {"mosec": pytest.approx(0.8)}


def test_the_same_results_give_the_same_file(tmp_path: Path) -> None:
    texts = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert draw_plots([a_result("int8")], folder) == ["throughput.svg"]
        texts.append((folder / "throughput.svg").read_text())
    assert texts[0] == texts[1]
    assert f"{TITLE}, int8 file" in texts[0]
