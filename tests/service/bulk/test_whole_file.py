from pathlib import Path

import pytest

from service.bulk.drawings import check_folder
from service.bulk.results import check_out
from service.bulk.whole_file import check_new, whole_file
from service.errors import ConfigurationError
from service.tasks.tasks import TASKS


def test_where_nothing_can_be_made_nor_removed_it_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".r.json.part").mkdir()  # as on a disk that is read-only
    with (
        pytest.raises(ConfigurationError, match=r"r\.json can not be written: Is a directory\."),
        whole_file(tmp_path / "r.json"),
    ):
        raise AssertionError


def test_an_error_leaves_neither_a_part_nor_another_content(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("before")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"after", None])  # type: ignore[list-item]
    assert [one.name for one in tmp_path.iterdir()] == ["r.json"]
    assert path.read_text() == "before"


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(ConfigurationError, match="--out /dev/null: this is no regular file"):
        check_new("--out", Path("/dev/null"), replaces=True)


def test_results_are_not_written_into_a_folder_with_the_name_of_a_bucket() -> None:
    path = Path("s3://bucket/r.jsonl")
    message = "s3:/bucket/r.jsonl: this is a URL, and results are written on this machine"
    with pytest.raises(ConfigurationError, match=f"--out {message}"):
        check_out(path, "new")
    with pytest.raises(ConfigurationError, match=f"--images {message}"):
        check_folder(path, TASKS["detect"], [], "new")
    with pytest.raises(ConfigurationError, match=f"--coco {message}"):
        check_new("--coco", path, replaces=False)
