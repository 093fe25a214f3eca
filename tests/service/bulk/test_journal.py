"""Rows in a file that is cut anywhere, as a kill leaves it, and on a disk that is full."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.bulk.done import Done
from service.bulk.journal import Journal
from service.bulk.rows import Row, Served, line_of, row_of
from service.errors import ConfigurationError
from tests.full_disk import small_files

SERVED = Served("colors", 1)


def row(image: str, **more: Any) -> Row:
    return {"image": image, "model": "colors", "version": 1, "result": {"n": 1}, **more}


def test_a_file_that_is_cut_anywhere_goes_on_with_its_whole_lines(tmp_path: Path) -> None:
    rows = [row("a"), row("new\nline"), row("ü")]
    whole = b"".join(map(line_of, rows))
    ends = [len(b"".join(map(line_of, rows[:count]))) for count in range(4)]
    path = tmp_path / "r.jsonl"

    for at in range(len(whole) + 1):
        path.write_bytes(whole[:at])
        journal = Journal(path)
        kept = sum(end <= at for end in ends) - 1
        assert list(journal.read()) == rows[:kept]
        journal.add(rows[kept:])
        journal.close()
        assert path.read_bytes() == whole


def test_rows_that_are_added_meanwhile_are_not_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.jsonl")
    journal.add([row("a"), row("b")])
    read = journal.read()
    journal.add([row("c")])

    assert [one["image"] for one in read] == ["a", "b"]
    journal.close()


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    journal = Journal(path)
    rows = [row(f"{index:0100}") for index in range(20)]

    full = r"r\.jsonl can not be written: File too large"
    with small_files() as most, pytest.raises(ConfigurationError, match=full):
        journal.add(rows)

    fitting = most // len(line_of(rows[0]))
    assert path.read_bytes() == b"".join(map(line_of, rows[:fitting]))
    assert list(journal.read()) == rows[:fitting]
    journal.close()


@pytest.mark.parametrize(
    "line",
    [
        *(b"text\n", b"[]\n", b'{"image": 3, "result": {}}\n', b'{"image": "a"}\n', b"\0\0\n"),
        *(b"\n", b'{"image": "a", "error": "bad"}\n', b'{"image": "a", "error": {}}\n'),
    ],
)
def test_a_line_that_is_no_row_is_refused(line: bytes) -> None:
    with pytest.raises(ConfigurationError, match="Line 3 of x is no row of results"):
        row_of(line, "Line 3 of x")


def done(*images: str) -> Done:
    return Done(iter([row(image) for image in images]), SERVED, "r.jsonl")


def test_each_row_stands_for_one_image_in_whatever_order() -> None:
    earlier = done("a", "b", "b", "c")

    asked = ["c", "b", "new", "a", "b", "b", "a"]
    assert [earlier.has(image) for image in asked] == [True, True, False, True, True, False, False]
    assert earlier.count == 4


def test_in_the_same_order_nothing_is_kept() -> None:
    read: list[str] = []

    def rows() -> Iterator[Row]:
        for index in range(1000):
            read.append(str(index))
            yield row(str(index))

    earlier = Done(rows(), SERVED, "r.jsonl")
    for index in range(500):
        assert earlier.has(str(index))
        assert len(read) == index + 1


def test_rows_of_another_version_are_refused_and_errors_are_counted() -> None:
    failed = {"image": "a", "model": "colors", "version": 1, "error": {"code": "bad_image"}}
    earlier = Done(iter([failed, row("b", version=2)]), SERVED, "r.jsonl")

    assert earlier.has("a")
    assert earlier.codes == {"bad_image": 1}
    with pytest.raises(ConfigurationError, match=r"is of colors version 2, .* of colors version 1"):
        earlier.has("b")


def test_rows_of_images_that_are_not_there_any_more_are_counted() -> None:
    failed = {"image": "gone", "model": "colors", "version": 1, "error": {"code": "bad_image"}}
    earlier = Done(iter([row("a"), row("b"), row("c"), failed]), SERVED, "r.jsonl")

    assert [earlier.has(image) for image in ("b", "b2", "c")] == [True, False, True]
    assert earlier.left_over() == 2
    assert (earlier.count, earlier.codes) == (2, {"bad_image": 1})
    assert done("a").left_over() == 1
    assert done().left_over() == 0
