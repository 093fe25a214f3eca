"""The JSON file of a run: whole after each finding, and continued by the next run."""

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.child import Ending
from benchmarks.gpu.journal import Journal, merge


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found


def test_each_finding_is_in_the_file_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("check", limit_seconds=9)
    assert content(tmp_path)["steps"]["check"]["status"] == "running"

    journal.add("check", {"rates": {"1": 10}})
    assert content(tmp_path)["steps"]["check"]["findings"] == {"rates": {"1": 10}}

    journal.add("check", {"rates": {"2": 19}})
    assert content(tmp_path)["steps"]["check"]["findings"] == {"rates": {"1": 10, "2": 19}}

    journal.end("check", Ending("killed", 9.04, "late"))
    step = content(tmp_path)["steps"]["check"]
    assert (step["status"], step["seconds"], step["detail"]) == ("killed", 9.0, "late")
    assert step["findings"] == {"rates": {"1": 10, "2": 19}}


def test_a_step_that_is_done_is_kept_by_the_next_run_and_no_other(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    for name, status in (("a", "done"), ("b", "killed"), ("c", "failed"), ("d", "skipped")):
        first.begin(name)
        first.end(name, Ending(status))  # type: ignore[arg-type]  # one of its words
    first.begin("e")  # and the run was killed

    second = Journal(tmp_path)

    assert [name for name in "abcdef" if second.is_done(name)] == ["a"]


def test_again_begins_with_nothing(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.begin("a")
    first.end("a", Ending("done"))

    assert not Journal(tmp_path, again=True).is_done("a")


def test_what_was_measured_on_another_card_is_forgotten(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.settle(device="cuda", card="H100")
    for name in ("environment", "check"):
        first.begin(name)
        first.end(name, Ending("done"))

    same, other = Journal(tmp_path), Journal(tmp_path)
    same.settle(device="cuda", card="H100")
    assert same.is_done("check")
    other.settle(device="cuda", card="H200")

    assert not other.is_done("check")
    assert other.is_done("environment")
    assert "'H100'" in other.forgotten
    assert "'H200'" in other.forgotten
    assert content(tmp_path)["card"] == "H200"


def test_a_file_that_can_not_be_read_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text('{"format": 1, "steps"')

    journal = Journal(tmp_path)
    journal.begin("a")

    assert "no JSON" in journal.forgotten
    assert list(content(tmp_path)["steps"]) == ["a"]


def test_mappings_are_merged_and_everything_else_is_replaced() -> None:
    into: dict[str, Any] = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}}

    merge(into, {"a": {"b": 2, "f": 3}, "d": 4})

    assert into == {"a": {"b": 2, "c": [1, 2], "f": 3}, "d": 4}
