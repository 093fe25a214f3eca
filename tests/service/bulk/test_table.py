"""Parquet files that pyarrow wrote, whole and damaged."""

from pathlib import Path
from typing import Any

import pytest

from service.bulk.table import count_in_table, images_in_table
from service.errors import ConfigurationError, FovealError

pa: Any = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install -e '.[parquet]'")
pq: Any = pytest.importorskip("pyarrow.parquet")


def write_table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def read(path: Path, column: str | None = None) -> list[tuple[str, bytes | str]]:
    items = images_in_table(path, 100, column)
    read = [(item.name.removeprefix(f"{path}"), item.read()) for item in items]
    return [(name, one.code if isinstance(one, FovealError) else one) for name, one in read]


def test_rows_are_images_by_their_number(tmp_path: Path) -> None:
    large = b"x" * 101
    path = write_table(tmp_path / "a.parquet", label=[1, 2, 3, 4], image=[b"one", None, b"", large])

    assert read(path) == [
        ("/0", b"one"),
        ("/1", "empty_image"),
        ("/2", "empty_image"),
        ("/3", "body_too_large"),
    ]
    assert count_in_table(path) == 4


def test_structs_of_bytes_and_path_are_read_as_hugging_face_writes_them(tmp_path: Path) -> None:
    rows = [{"bytes": b"one", "path": "a.png"}, None, {"bytes": b"two", "path": None}]
    path = write_table(tmp_path / "a.parquet", image=rows, label=[1, 2, 3])

    assert read(path) == [("/0", b"one"), ("/1", "empty_image"), ("/2", b"two")]


def test_the_column_is_found_or_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.parquet", key=[b"k"], thumb=[b"t"], number=[1])

    assert read(path, "thumb") == [("/0", b"t")]
    with pytest.raises(ConfigurationError, match="several columns have bytes: key, thumb"):
        read(path)
    with pytest.raises(ConfigurationError, match="--column number: it has int64, no bytes"):
        read(path, "number")
    with pytest.raises(ConfigurationError, match=r"--column no: there is no such.*key \(binary\)"):
        read(path, "no")
    only = write_table(tmp_path / "b.parquet", whatever=[b"w"])
    assert read(only) == [("/0", b"w")]
    with pytest.raises(ConfigurationError, match=r"no column has images.*: n \(int64\)"):
        read(write_table(tmp_path / "c.parquet", n=[1]))
    many = write_table(
        tmp_path / "d.parquet", **{f"n{number}": ["a.jpg"] for number in range(1000)}
    )
    with pytest.raises(ConfigurationError, match=r"n9 \(string\) and 990 more\.$"):
        read(many)


def test_repeated_images_may_be_in_a_dictionary(tmp_path: Path) -> None:
    image = pa.array([b"one", b"two", b"one", None]).dictionary_encode()
    sha = pa.array([bytes(16)] * 4, pa.binary(16))  # of one size: no images
    path = write_table(tmp_path / "a.parquet", sha=sha, photo=image)

    assert read(path) == [("/0", b"one"), ("/1", b"two"), ("/2", b"one"), ("/3", "empty_image")]


def test_two_columns_of_one_name_are_refused_where_they_are_the_images(tmp_path: Path) -> None:
    def write(*names: str) -> Path:
        table = pa.Table.from_arrays([pa.array([b"x"])] * len(names), names=list(names))
        pq.write_table(table, tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    for column in (None, "image"):
        with pytest.raises(ConfigurationError, match="several columns have the name image"):
            read(write("image", "image", "img"), column)
    assert read(write("image", "n", "n")) == [("/0", b"x")]


def test_a_damaged_table_has_a_row_that_says_so(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.parquet", image=[b"one", b"two", b"three", b"four"])
    whole = path.read_bytes()
    for content in (b"", b"no Parquet", whole[:-30], whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert read(path) == [("", "unreadable_source")]
        assert count_in_table(path) is None


def test_a_changed_page_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image": [b"the first", b"the second"]})
    plain = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    pq.write_table(table, path, write_page_checksum=True, **plain)
    assert read(path) == [("/0", b"the first"), ("/1", b"the second")]
    path.write_bytes(path.read_bytes().replace(b"the second", b"the tenth.", 1))
    assert read(path) == [("", "unreadable_source")]


def test_a_table_without_images_that_nobody_named_is_skipped(tmp_path: Path) -> None:
    path = write_table(tmp_path / "metadata.parquet", n=[1])
    skipped: list[None] = []

    assert list(images_in_table(path, 100, None, lambda: skipped.append(None))) == []
    assert skipped == [None]


def test_groups_of_rows_that_are_done_are_not_read(tmp_path: Path) -> None:
    images = [bytes([number]) * 50 for number in range(6)]  # in groups of two
    path = write_table(tmp_path / "a.parquet", image=images)
    content = bytearray(path.read_bytes())
    begin = pq.ParquetFile(path).metadata.row_group(0).column(0).file_offset or 4
    content[begin : begin + 40] = b"\xff" * 40
    path.write_bytes(content)
    assert read(path) == [("", "unreadable_source")]

    done = {f"{path}/{row}" for row in (0, 1, 3)}
    asked: list[str] = []

    def is_done(name: str) -> bool:
        asked.append(name)
        return name in done

    found = {item.name: item.read() for item in images_in_table(path, 100, None, None, is_done)}
    assert found == {f"{path}/{row}": images[row] for row in (2, 4, 5)}
    assert asked == [f"{path}/{row}" for row in range(6)]  # each once, in order
