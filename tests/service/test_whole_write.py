import os
import threading
from pathlib import Path

import pytest

from service.whole_write import save_whole, write_whole
from tests.full_disk import small_files


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


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")
    for write in (write_whole, save_whole):
        with small_files() as most, pytest.raises(OSError, match="File too large"):
            write(path, b"x" * (most + 1))
        assert path.read_bytes() == b"before"
        assert list(tmp_path.iterdir()) == [path]


def test_what_a_user_has_named_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"before")
    path.chmod(0o640)
    link.symlink_to("a")
    save_whole(link, b"after")
    assert link.is_symlink()
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    save_whole(pipe, b"content")
    assert os.read(reading, 100) == b"content"
    os.close(reading)
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_what_a_process_has_open_is_written_to() -> None:
    """As `/dev/stdout`, whose link leads to no path."""
    reading, writing = os.pipe()
    save_whole(Path(f"/dev/fd/{writing}"), b"content")
    os.close(writing)
    assert os.read(reading, 100) == b"content"
    os.close(reading)
