"""The page and the goals of a run, from JSON made by hand."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.goals import goals
from benchmarks.gpu.summary import problems, session_rates, write_page


def step(**findings: Any) -> dict[str, Any]:
    return {
        "status": "done",
        "seconds": 1.0,
        "limit_seconds": 9.0,
        "detail": "",
        "findings": findings,
    }


def verdict(name: str, *, holds: bool | None) -> dict[str, Any]:
    return {name: {"holds": holds, "because": "it was so"}}


def load(rate: float) -> dict[str, Any]:
    return {
        "images_per_second": rate,
        "p50_ms": 2.0,
        "p99_ms": 3.0,
        "sent": 10,
        "statuses": {"200": 10},
    }


CONTENT: dict[str, Any] = {
    "format": 1,
    "card": "NVIDIA H100",
    "stand_in": False,
    "steps": {
        "environment": step(machine={"processor": "A chip", "cores": 16, "python": "3.12"}),
        "check resnet50": step(verdicts=verdict("fp32: it agrees with the CPU", holds=True)),
        "rates resnet50": step(
            precisions={
                "fp16": {
                    "rates": {
                        "session": {"1": 90.0, "32": 950.0, "64": 1.0},
                        "captured loop": {"1": 100.0, "32": 1000.0, "64": 1.0},
                    }
                }
            }
        ),
        "torch resnet50": step(rates={"fp16, CUDA graphs": {"32": 1100.0}}),
        "service resnet50": step(clients={"1": load(50.0), "128": load(640.0)}),
        "naive resnet50": step(clients={"32": load(200.0)}),
        "decoding": step(cores={"1": 60.0, "16": 700.0}),
    },
}


def measured(content: dict[str, Any]) -> dict[str, tuple[str, bool | None]]:
    return {
        one.text.partition(":")[2].strip() or one.text: (one.measured, one.reached)
        for one in goals(content)
    }


def test_each_goal_is_a_ratio_of_what_was_measured() -> None:
    found = measured(CONTENT)

    assert found["everything agrees with the CPU"] == ("1 of 1 networks and precisions", True)
    assert found["the session has 0.9 of a captured loop at batch 32"] == ("0.95", True)
    assert found["3 times the throughput of FastAPI with PyTorch"] == ("3.20", True)
    # 640 of 700 that the cores decode: they are the limit.
    assert found["what limits the service is named"][0].startswith("the cores: 640 images/s of 700")


@pytest.mark.parametrize(
    ("holds", "measured_as", "reached"),
    [
        (None, "1 of 1 networks and precisions", True),
        (False, "1 of 2 networks and precisions", False),
    ],
)
def test_a_precision_that_no_export_passes_is_no_disagreement(
    *, holds: bool | None, measured_as: str, reached: bool
) -> None:
    content = copy.deepcopy(CONTENT)
    verdicts = verdict("fp16: it agrees with the CPU", holds=holds)
    content["steps"]["check u2netp"] = step(verdicts=verdicts)

    assert measured(content)["everything agrees with the CPU"] == (measured_as, reached)


def test_goals_that_are_missed_are_shown_as_missed() -> None:
    content = copy.deepcopy(CONTENT)
    content["steps"]["service resnet50"]["findings"]["clients"]["128"] = load(590.0)
    rates = content["steps"]["rates resnet50"]["findings"]["precisions"]["fp16"]["rates"]
    rates["session"]["32"] = 890.0

    found = measured(content)

    assert found["3 times the throughput of FastAPI with PyTorch"] == ("2.95", False)
    assert found["the session has 0.9 of a captured loop at batch 32"] == ("0.89", False)


def test_where_the_cpu_stood_in_no_goal_is_reached_and_the_page_says_so(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT) | {"stand_in": True, "card": "", "processor": "A chip"}
    content["steps"]["check resnet50"]["stand_in"] = True

    write_page(content, tmp_path)
    page = (tmp_path / "README.md").read_text()

    assert {one.reached for one in goals(content)} == {None}
    assert "No figure on it says anything about a GPU" in page
    assert "| it agrees with the CPU | yes" not in page
    assert "the code runs on the CPU" in page


def test_a_page_of_a_gpu_has_its_name_and_every_figure(tmp_path: Path) -> None:
    write_page(CONTENT, tmp_path)
    page = (tmp_path / "README.md").read_text()

    assert page.startswith("# NVIDIA H100\n")
    assert "stood in" not in page
    assert "| ONNX Runtime fp16, session | 90 | 950 | 1 |" in page
    assert "| PyTorch fp16, CUDA graphs |  | 1,100 |  |" in page
    assert "| service | 128 | 640 | 2 | 3 |" in page


def test_an_empty_run_has_a_page_too(tmp_path: Path) -> None:
    write_page({"format": 1, "steps": {}}, tmp_path)

    assert "Nothing was measured." in (tmp_path / "README.md").read_text()


def test_steps_that_did_not_end_and_what_does_not_hold_are_problems() -> None:
    content = copy.deepcopy(CONTENT)
    assert problems(content) == []
    content["steps"]["decoding"] |= {"status": "killed", "detail": "late"}
    content["steps"]["naive resnet50"] |= {"status": "skipped", "detail": "no torch"}
    content["steps"]["check resnet50"]["findings"]["verdicts"] = {
        **verdict("no memory leaks", holds=False),
        **verdict("page-locked buffers are locked", holds=None),
    }

    found = problems(content)

    assert len(found) == 2
    assert any("decoding was killed: late" in one for one in found)
    assert any("no memory leaks: it was so" in one for one in found)


def test_the_rates_of_a_network_come_from_every_step_that_ran_it() -> None:
    assert session_rates(CONTENT, "resnet50") == {
        "ONNX Runtime fp16, session": {1: 90, 32: 950, 64: 1},
        "ONNX Runtime fp16, captured loop": {1: 100, 32: 1000, 64: 1},
        "PyTorch fp16, CUDA graphs": {32: 1100},
    }


def test_the_plot_shows_the_networks_and_nothing_without_any(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.gpu.plot import draw  # noqa: PLC0415  # Matplotlib may be missing

    assert draw(json.loads(json.dumps(CONTENT)), tmp_path / "gpu.svg") == 1
    text = (tmp_path / "gpu.svg").read_text()
    assert "NVIDIA H100" in text
    assert "PyTorch fp16, CUDA graphs" in text
    assert draw({"steps": {}}, tmp_path / "none.svg") == 0
    assert not (tmp_path / "none.svg").exists()
