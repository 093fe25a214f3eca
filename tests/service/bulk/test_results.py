"""A file of results through all its states, and what a kill leaves between two of them."""

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.bulk.record import Record
from service.bulk.results import Mode, Results, check_out, read_results
from service.bulk.rows import Row
from service.errors import ConfigurationError
from service.heads.classify import Classification
from service.heads.detect import DetectResult
from service.heads.embed import Embedding
from service.heads.segment import SegmentResult

RECORD = Record("classify", "colors", 1, "a" * 64, {"top_k": None}, "0.2.0")


def row(image: str, label: str = "red") -> Row:
    result = {"predictions": [{"label": label, "class_id": 0, "probability": 0.5}]}
    return {"image": image, "model": "colors", "version": 1, "result": result}


FAILED = {
    "image": "bad",
    "model": "colors",
    "version": 1,
    "error": {"code": "bad_image", "detail": "why"},
}


def run(
    out: Path, mode: Mode, *rows: Row, record: Record = RECORD, completes: bool = True
) -> list[str]:
    """Write rows, and return the names of those that were there."""
    check_out(out, mode)
    with Results(out, record, mode, Classification) as results:
        earlier = [one["image"] for one in results.earlier()]
        results.add(rows)
        if completes:
            results.complete()
    return earlier


@pytest.fixture(params=["jsonl", "parquet"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow: pip install -e '.[parquet]'")
    return tmp_path / f"r.{request.param}"


def whole(out: Path) -> list[Row]:
    return list(read_results(out))


def test_rows_come_back_as_they_were(out: Path) -> None:
    rows = [row("ü\n1"), FAILED, row("2", "blue")]

    assert run(out, "new", *rows) == []
    assert whole(out) == rows
    assert sorted(one.name for one in out.parent.iterdir()) == [out.name, f"{out.name}.run.json"]


def test_a_file_that_is_there_is_refused_gone_on_with_or_replaced(out: Path) -> None:
    run(out, "new", row("1"))
    with pytest.raises(ConfigurationError, match=r"exists.* --resume, or begin again with --over"):
        run(out, "new", row("2"))

    assert run(out, "resume", row("2"), FAILED) == ["1"]
    assert run(out, "resume") == ["1", "2", "bad"]
    assert whole(out) == [row("1"), row("2"), FAILED]

    assert run(out, "overwrite", row("3")) == []
    assert whole(out) == [row("3")]


def test_an_unfinished_run_goes_on(out: Path) -> None:
    run(out, "new", row("1"), completes=False)
    with pytest.raises(ConfigurationError, match="exists"):
        run(out, "new")

    assert run(out, "resume", row("2"), completes=False) == ["1"]
    assert run(out, "resume", row("3")) == ["1", "2"]
    assert whole(out) == [row("1"), row("2"), row("3")]


def test_other_options_or_another_network_are_refused(out: Path) -> None:
    run(out, "new", row("1"), completes=False)
    others: list[tuple[dict[str, Any], str]] = [
        ({"options": {"top_k": 2}}, r'with options {"top_k": null}, not {"top_k": 2}'),
        ({"version": 2}, "with version 1, not 2"),
        ({"graph_sha256": "b" * 64}, "with graph_sha256 aaa"),
        ({"task": "embed"}, "with task classify, not embed"),
    ]
    for other, message in others:
        fields = {name: getattr(RECORD, name) for name in RECORD.__slots__} | other
        with pytest.raises(ConfigurationError, match=message):
            run(out, "resume", record=Record(**fields))
    assert run(out, "resume") == ["1"]


def test_a_run_without_rows_leaves_nothing(out: Path) -> None:
    run(out, "new", completes=False)

    assert list(out.parent.iterdir()) == []


def test_a_disk_that_is_full_from_the_beginning_leaves_nothing(out: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"run\.json can not be written"):
            run(out, "new", row("1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(out.parent.iterdir()) == []


def test_a_run_that_is_refused_keeps_the_record_of_the_one_before(out: Path) -> None:
    run(out, "new", row("1"))
    record = out.with_name(f"{out.name}.run.json")
    before = record.read_bytes()
    with pytest.raises(ConfigurationError, match="was begun with"):
        run(out, "resume", record=Record("classify", "colors", 2, "a" * 64, {}, "0.2.0"))
    assert record.read_bytes() == before


def test_two_runs_at_once_are_refused(out: Path) -> None:
    with Results(out, RECORD, "new", Classification) as results:
        results.add([row("1")])
        for mode in ("resume", "overwrite"):
            with pytest.raises(ConfigurationError, match="Another foveal predict writes to"):
                Results(out, RECORD, mode, Classification)
        results.complete()
    assert whole(out) == [row("1")]


def test_what_is_no_file_of_results_is_not_touched(out: Path) -> None:
    out.write_bytes(b"my notes\n")
    with pytest.raises(ConfigurationError, match=r"no row of results|holds no results"):
        run(out, "resume", row("1"))

    assert out.read_bytes() == b"my notes\n"


def test_a_kill_after_the_parquet_file_was_written_repeats_no_row(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out, journal = tmp_path / "r.parquet", tmp_path / "r.parquet.rows.jsonl"
    run(out, "new", row("1"))
    run(out, "resume", row("2"), completes=False)
    shutil.copy(journal, tmp_path / "kept")
    run(out, "resume")
    shutil.copy(tmp_path / "kept", journal)  # as if the kill came before its removal

    assert run(out, "resume", row("3")) == ["1", "2"]
    assert whole(out) == [row("1"), row("2"), row("3")]


def test_a_parquet_file_that_can_not_be_written_whole_leaves_no_part_of_it(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "r.parquet"
    run(out, "new", row("1"), completes=False)
    journal = tmp_path / "r.parquet.rows.jsonl"
    journal.write_bytes(journal.read_bytes() + b"my notes\n")
    before = sorted(tmp_path.iterdir())

    with (
        Results(out, RECORD, "resume", Classification) as results,
        pytest.raises(ConfigurationError, match=r"Line 2 .* is no row .*go on with --resume"),
    ):
        results.complete()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r.csv", r"end its name in \.jsonl or \.parquet"),
        ("no/r.jsonl", "there is no folder"),
        ("folder.jsonl", "no regular file"),
        ("link.jsonl", "a link to something that is not there"),
        (f"{'x' * 300}.jsonl", "File name too long"),
        (f"{'x' * 240}.jsonl", "File name too long"),  # with what is added for the files beside it
    ],
)
def test_where_results_can_not_go(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "link.jsonl").symlink_to("nothing")
    with pytest.raises(ConfigurationError, match=message):
        check_out(tmp_path / name, "overwrite")


def test_a_record_that_says_something_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    run(out, "new", row("1"))
    (tmp_path / "r.jsonl.run.json").write_text(json.dumps({"task": "classify"}))

    with pytest.raises(ConfigurationError, match="does not say how its results were made"):
        run(out, "resume")
    (tmp_path / "r.jsonl.run.json").unlink()
    assert run(out, "resume") == ["1"]


def test_every_result_has_columns_of_its_own(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for result in (Classification, DetectResult, SegmentResult, Embedding):
        out = tmp_path / f"{result.__name__}.parquet"
        with Results(out, RECORD, "new", result) as results:
            results.add([FAILED])
            results.complete()
        columns = pq.read_schema(out).field("result").type
        assert set(result.__annotations__) == {field.name for field in columns}
