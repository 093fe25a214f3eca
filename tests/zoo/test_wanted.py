"""Which networks a run of `make zoo` measures: those without a result, and others where it is asked for."""

from typing import Any

from zoo.__main__ import wanted
from zoo.networks import networks

EXPORTED = {"status": "exported", "cpu_seconds": 3.0}
RESULTS: dict[str, dict[str, Any]] = {
    "transformers:detr": EXPORTED,
    "transformers:rf_detr": {"status": "refused", "words": "Give --height"},
    "transformers:rt_detr": {"status": "exported"},
}
NAMES = ["detr", "rf_detr", "rt_detr", "d_fine"]


def keys(names: list[str], *, again: bool = False, exported: bool = False) -> set[str]:
    found = wanted(names, RESULTS, again=again, exported=exported)
    return {one.key.removeprefix("transformers:") for one in found}


def test_what_has_no_result_or_no_time_is_measured() -> None:
    assert keys(NAMES) == {"rt_detr", "d_fine"}


def test_refusals_are_measured_again_where_it_is_asked_for() -> None:
    assert keys(NAMES, again=True) == {"rf_detr", "rt_detr", "d_fine"}


def test_all_are_measured_again_where_it_is_asked_for() -> None:
    assert keys(NAMES, exported=True) == set(NAMES)


def test_a_task_or_a_family_names_its_networks() -> None:
    detectors = wanted(["detect"], {}, again=False, exported=False)
    assert {one.task for one in detectors} == {"detect"}
    assert {one.family for one in detectors} == {"torchvision", "transformers", "ultralytics"}
    smp = wanted(["smp"], {}, again=False, exported=False)
    assert {one.family for one in smp} == {"smp"}
    assert wanted([], {}, again=False, exported=False) == list(networks())
