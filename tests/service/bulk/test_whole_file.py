from pathlib import Path

import pytest

from service.bulk.whole_file import check_new, whole_file
from service.errors import ConfigurationError


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
