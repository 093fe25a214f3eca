"""`--resume` begins in a shard where the rows end, and only where rows and shard still say the same."""

import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from service.bulk.done import Done
from service.bulk.passages import Passages
from service.bulk.rows import Row, Served
from service.bulk.sources import Sources
from service.storage.file_system import CHUNK_BYTES
from tests.file_server import FileServer

SPACING = 16 << 10
SERVED = Served("digits", 1)


def write_shard(path: Path, count: int, kind: str = "", size: int = 3000) -> None:
    """Write samples of an image, a mask of it and a label; each tenth has no image but a mask."""
    with tarfile.open(path, f"w:{kind}", format=tarfile.PAX_FORMAT) as shard:  # type: ignore[call-overload]
        for number in range(count):
            endings = ["seg.png", "cls"] if number % 10 == 9 else ["jpg", "seg.png", "cls"]
            for ending in endings:
                member = tarfile.TarInfo(f"größe/{number:05}.{ending}")
                member.size = size
                shard.addfile(member, BytesIO(number.to_bytes(2) * (size // 2)))


class Runs:
    """Runs through the same sources, each of which writes rows as far as it is let."""

    def __init__(self, folder: Path, *names: str, spacing_bytes: int = SPACING) -> None:
        self.path = folder / "results.jsonl.shards.jsonl"
        self.names = names
        self.rows: list[Row] = []
        self.spacing_bytes = spacing_bytes

    def run(self, images: int | None = None) -> tuple[list[str], int, int]:
        """Return the images of a run that ends after so many, how many others it saw, and rows that are left over."""
        done = Done(iter(list(self.rows)), SERVED, "results.jsonl")
        passages = Passages(self.path, done.has_rows_of, self.spacing_bytes)
        sources = Sources(self.names, 1 << 30, BytesIO(), passages=passages)
        found: list[str] = []
        for item in passages.counted(sources.images(done.has)):
            item.read()
            if len(found) == images:
                break
            self.rows.append({"image": item.name, "model": "digits", "version": 1, "result": {}})
            found.append(item.name)
            passages.written(len(found))
        passages.written(len(found))
        return found, sources.others, done.left_over()


@pytest.mark.parametrize("kind", ["", "gz"])
@pytest.mark.parametrize("ends", [[0], [1], [7, 11], [20, 1, 1, 19], [300], [10_000]])
def test_runs_that_end_anywhere_have_every_image_once(
    tmp_path: Path, kind: str, ends: list[int]
) -> None:
    names = [str(tmp_path / f"{letter}.tar{'.gz' if kind else ''}") for letter in "abc"]
    for name in names:
        write_shard(Path(name), 100, kind)
    whole, others, _ = Runs(tmp_path / "none", *names).run()
    assert len(whole) == 300

    runs = Runs(tmp_path, *names)
    found = [name for end in ends for name in runs.run(end)[0]]
    rest, seen, left_over = runs.run()

    assert found + rest == whole
    assert (seen, left_over) == (others, 0)
    assert runs.run() == ([], others, 0)


def test_what_is_done_of_a_shard_elsewhere_is_not_fetched(web: FileServer, tmp_path: Path) -> None:
    size = CHUNK_BYTES // 8
    for name in ("a.tar", "b.tar"):
        write_shard(web.root / name, 20, size=size)
    runs = Runs(tmp_path, f"{web.url}/a.tar", f"{web.url}/b.tar", spacing_bytes=size)
    first, _, _ = runs.run(32)

    web.requests.clear()
    rest, _, _ = runs.run()

    assert len(first + rest) == len(set(first + rest)) == 40
    assert web.fetched("a.tar") == []
    begins = [int(part[6:-1] or 0) for part in web.fetched("b.tar")]
    assert begins
    assert min(begins) > 10 * 3 * size
    web.requests.clear()
    assert runs.run()[0] == []
    assert web.fetched("b.tar") == []


def test_a_passage_is_not_believed_where_rows_or_shard_are_others(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(path, 40)
    runs = Runs(tmp_path, str(path))
    runs.run()
    removed = runs.rows.pop(3)["image"]
    assert runs.run()[0] == [removed]  # as of a row with an error, to try its image again
    assert runs.run()[0] == []

    write_shard(path, 60)  # of another size
    assert len(runs.run()[0]) == 20
    assert runs.run()[0] == []


def test_lines_that_are_no_passages_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(path, 40)
    runs = Runs(tmp_path, str(path))
    first, _, _ = runs.run(30)
    with runs.path.open("ab") as file:
        file.write(b'\xff\n[1]\n{"shard": 1}\n{}\n"a"\n{"shard": "a", "siz')
    assert len(first + runs.run()[0]) == 40
    assert runs.run()[0] == []
    runs.path.unlink()
    runs.path.mkdir()  # which no line can be added to
    assert runs.run()[0] == []
