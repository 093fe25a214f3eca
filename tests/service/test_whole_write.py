import threading
from pathlib import Path

import pytest

from service.whole_write import write_whole


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, b"one")
    write_whole(path, b"two")

    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_whole(path, b"one")
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a", b"one")

    assert list(tmp_path.iterdir()) == [path]


def test_several_write_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    begin = threading.Barrier(8)
    failed: list[OSError] = []

    def write(letter: bytes) -> None:
        begin.wait()
        try:
            for _ in range(50):
                write_whole(path, letter * 100_000)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(bytes([65 + each]),)) for each in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert failed == []
    assert len(set(path.read_bytes())) == 1
    assert path.stat().st_size == 100_000
    assert list(tmp_path.iterdir()) == [path]
