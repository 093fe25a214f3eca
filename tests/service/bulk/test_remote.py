"""Images elsewhere: what a bucket gives is what a folder with the same files gives, and what goes wrong is said."""

import json
import os
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import pytest

from service.bulk.chunks import HELD_BYTES, SIDE_BY_SIDE, read_some
from service.bulk.coco import Ids
from service.bulk.item import Item
from service.bulk.known_answers import read_known_answers
from service.bulk.place import PAUSES_SECONDS, Place
from service.bulk.remote import Places, RemotePath
from service.bulk.sources import Sources
from service.errors import ConfigurationError, FovealError, StorageError
from service.storage.file_system import CHUNK_BYTES, RemoteFiles, open_remote
from service.storage.links import MOST_LINKS
from service.storage.url import StorageUrl, parse_url
from tests.buckets import BUCKET, no_rights
from tests.file_server import FileServer
from tests.service.storage.stand_ins import StandIn, stand_in_for

T = TypeVar("T")

LARGEST = 100_000
FILES = (
    *("a.jpg", "b/1.JPG", "b/2.png", "b/c/3.webp", "b/c/notes.txt", "b[1].jpg", "z (ü) ?.png"),
    *(".hidden.jpg", "b/.git/4.jpg", "b/c/.h/5.jpg"),
)
PATTERNS = (
    *("*.jpg", "*", "b/*", "**/*.png", "b/**/*.webp", "b*", "?.jpg", "[!b].jpg", "b/c/*.txt"),
    *("*/c/*", "[a-c].jpg", "b[[]1].jpg", "**/.h/*", "no/*.jpg", "z*"),
)


def sources(*names: str | Path, listed: bytes = b"", places: Places | None = None) -> Sources:
    return Sources(
        [str(name) for name in names], LARGEST, BytesIO(listed), places=places or Places()
    )


def found(given: Sources, root: str = "") -> dict[str, bytes | str]:
    """Return the bytes of each image, or the code of its error, by name below a root."""
    read = {item.name.removeprefix(root): item.read() for item in given.images()}
    return {name: one.code if isinstance(one, FovealError) else one for name, one in read.items()}


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """List a bucket three files at a time."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")


def put(s3: Any, key: str, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=content)


@pytest.fixture
def both(s3: Any, tmp_path: Path) -> Path:
    """Write the same files into a folder, which is returned, and into the bucket, beside others."""
    root = tmp_path / "set"
    for name in FILES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        put(s3, f"set/{name}", name.encode())
    put(s3, "set/empty/", b"")
    put(s3, "settings/9.jpg", b"another prefix")
    return root


def test_a_prefix_gives_what_a_folder_gives(both: Path) -> None:
    here, there = sources(both), sources("s3://bucket/set")
    expected = found(here, str(both))
    assert found(there, "s3://bucket/set") == expected
    assert len(expected) == 6
    assert there.others == here.others == 1
    assert sources("s3://bucket/set").count() == 6
    assert list(found(sources("s3://bucket"), "s3://bucket/"))[-1] == "settings/9.jpg"


def test_the_order_is_the_same_each_time(both: Path) -> None:
    names = [list(found(sources("s3://bucket/set/"))) for _ in range(2)]
    assert names[0] == names[1] == sorted(names[0])
    assert both.is_dir()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_gives_what_it_matches_in_a_folder(both: Path, pattern: str) -> None:
    def of(root: str) -> set[str] | str:
        try:
            return set(found(sources(f"{root}/{pattern}"), root))
        except ConfigurationError as error:
            return "matches no image" if "matches no image" in str(error) else str(error)

    assert of("s3://bucket/set") == of(str(both))


def test_a_file_is_named_whatever_it_is_called(both: Path, s3: Any) -> None:
    put(s3, "set/photo", b"one")
    assert found(sources("s3://bucket/set/photo", "s3://bucket/set/b[1].jpg")) == {
        "s3://bucket/set/photo": b"one",
        "s3://bucket/set/b[1].jpg": b"b[1].jpg",
    }
    assert both.is_dir()


def test_an_image_that_is_empty_too_large_or_gone_has_its_error(s3: Any) -> None:
    for name, size in {"just": LARGEST, "large": LARGEST + 1, "empty": 0, "gone": 5}.items():
        put(s3, f"{name}.jpg", b"x" * size)
    items = list(sources("s3://bucket").images())
    s3.delete_object(Bucket=BUCKET, Key="gone.jpg")
    read = {item.name.rpartition("/")[2]: item.read() for item in items}
    codes = {name: one.code for name, one in read.items() if isinstance(one, FovealError)}
    assert codes == {
        "empty.jpg": "empty_image",
        "gone.jpg": "unreadable_source",
        "large.jpg": "body_too_large",
    }
    assert read["just.jpg"] == b"x" * LARGEST


def test_a_list_names_files_elsewhere_too(both: Path, s3: Any) -> None:
    put(s3, "empty.jpg", b"")
    lines = [
        "s3://bucket/empty.jpg",
        "s3://bucket/set/a.jpg",
        str(both / "a.jpg"),
        "s3://bucket/set/nothing.jpg",
        "s3://bucket/nothing",
        "ftp://host/a.jpg",
        *("s3://%%/a.jpg", "gs://b/a.jpg", "https://%%/a.jpg", "https://:80/a.jpg", "hf://?/a.jpg"),
        "s3://bucket/set/b/c",
    ]
    read = found(sources("-", listed="\n".join(lines).encode()))
    assert list(read.items()) == [
        ("s3://bucket/empty.jpg", "empty_image"),
        ("s3://bucket/set/a.jpg", b"a.jpg"),
        (str(both / "a.jpg"), b"a.jpg"),
        ("s3://bucket/set/nothing.jpg", "unreadable_source"),
        ("s3://bucket/nothing", "unreadable_source"),
        ("ftp://host/a.jpg", "unreadable_source"),
        ("s3://%%/a.jpg", "unreadable_source"),
        ("gs://b/a.jpg", "unreadable_source"),
        ("https://%%/a.jpg", "unreadable_source"),
        ("https://:80/a.jpg", "unreadable_source"),
        ("hf://?/a.jpg", "unreadable_source"),
        ("s3://bucket/set/b/c/3.webp", b"b/c/3.webp"),
    ]


def write_shard(path: Path, compression: str = "") -> Path:
    """Write images of sizes around a block of the file and of what is fetched at once, and a large file between."""
    sizes = {"1.jpg": 512, "1.txt": 3 * CHUNK_BYTES, "2.jpg": 511, "3.jpg": 0, "4.jpg": LARGEST}
    with tarfile.open(path, f"w:{compression}") as shard:  # type: ignore[call-overload]
        for number, (name, size) in enumerate(sizes.items()):
            member = tarfile.TarInfo(name)
            member.size = size
            shard.addfile(member, BytesIO(bytes([number]) * size))
    return path


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_a_shard_gives_the_same(s3: Any, ending: str, tmp_path: Path) -> None:
    path = write_shard(tmp_path / f"a.{ending}", ending.removeprefix("tar").removeprefix("."))
    put(s3, f"shards/{path.name}", path.read_bytes())
    put(s3, f"shards/cut.{ending}", path.read_bytes()[:-20_000])

    expected = found(sources(path), str(path))
    assert found(sources(f"s3://bucket/shards/{path.name}"), f"s3://bucket/shards/{path.name}") == (
        expected
    )
    assert len(expected) == 4
    cut = f"s3://bucket/shards/cut.{ending}"
    assert found(sources(cut), cut)[""] == "unreadable_source"


def test_a_table_gives_the_same(s3: Any, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pip install -e '.[parquet]'")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    images = [bytes([number]) * 20_000 for number in range(50)]
    pq.write_table(pa.table({"image": images, "other": [1] * 50}), path, row_group_size=7)
    put(s3, "a.parquet", path.read_bytes())
    put(s3, "cut.parquet", path.read_bytes()[:-9])

    there = sources("s3://bucket/a.parquet")
    assert found(there, "s3://bucket/a.parquet") == found(sources(path), str(path))
    assert there.count() == 50
    assert found(sources("s3://bucket/cut.parquet")) == {
        "s3://bucket/cut.parquet": "unreadable_source"
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s3://bucket/nothing", r"'s3://bucket/nothing' has no image\."),
        ("s3://bucket/texts", "has no image, and 1 other files"),
        ("s3://bucket/**/*.jpg", "matches no image"),
        ("s3://bucket/[z-a].jpg", "is no pattern of files"),
        ("s3://no-such-bucket/a", "There is nothing at s3://no-such-bucket/a"),
        ("s3://", "write s3://BUCKET/PREFIX"),
        ("s3://bucket/../a", r"must have no parts \. and \.\."),
        ("https://host/a.jpg?token=secret", "must have no query"),
        ("https://user:secret@host/a.jpg", r"~/\.netrc"),
        ("http://example.org/a.jpg", "write https"),
        ("ftp://host/a", "is no place of images; write a folder, or a URL: s3://"),
    ],
)
def test_where_no_image_is_the_reason_is_said(s3: Any, name: str, message: str) -> None:
    put(s3, "texts/a.txt", b"x")
    with pytest.raises(ConfigurationError, match=message) as caught:
        sources(name).check()
    assert "secret" not in str(caught.value)


def test_a_bucket_without_rights_ends_the_run_and_names_the_remedy(moto: str, s3: Any) -> None:
    put(s3, "a.jpg", b"one")
    items = sources("s3://bucket").images()
    first = next(items)
    with no_rights(moto):
        with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID") as caught:
            sources("s3://bucket").check()
        with pytest.raises(StorageError, match="It refuses: check the credentials"):
            first.read()
    assert "the-secret" not in str(caught.value)


def test_only_a_page_of_a_bucket_is_listed_ahead(s3: Any) -> None:
    for number in range(10):
        put(s3, f"{number}.jpg", b"x")
    asked: list[str] = []

    class Counted(RemoteFiles):
        def ask(self, what: str, function: Callable[[Any], T]) -> T:
            asked.append(what)
            return super().ask(what, function)

    def opened(url: StorageUrl) -> RemoteFiles:
        files = open_remote(url)
        return Counted(url, files._fs)  # noqa: SLF001

    images = sources("s3://bucket", places=Places(opened)).images()
    assert [next(images).name for _ in range(3)][-1] == "s3://bucket/2.jpg"
    assert len(asked) == 1
    assert len(list(images)) == 7
    assert len(asked) == 4


# A web server, where each request is seen.


def place_of(web: FileServer, waits: list[float] | None = None) -> Place:
    waits = [] if waits is None else waits
    return Place(open_remote(parse_url(web.url)), PAUSES_SECONDS, waits.append)


def test_a_page_of_links_is_a_folder(web: FileServer) -> None:
    for name in ("b.jpg", "a/1.png", "a/.h.png", "c.txt"):
        (web.root / name).parent.mkdir(exist_ok=True)
        (web.root / name).write_bytes(name.encode())
    expected: dict[str, bytes | str] = {"/a/1.png": b"a/1.png", "/b.jpg": b"b.jpg"}
    given = sources(web.url)
    assert found(given, web.url) == expected
    assert given.others == 1
    assert found(sources(f"{web.url}/b.jpg", f"{web.url}/a"), web.url) == expected
    assert {method for method, _, _ in web.requests} <= {"GET", "HEAD"}


def test_a_page_with_more_links_than_are_read_is_no_folder_of_some_images(web: FileServer) -> None:
    web.links = [f"{number}.jpg" for number in range(MOST_LINKS)]
    with pytest.raises(StorageError, match=r"more than 20000 links.*in a list"):
        place_of(web).files.children()


def test_names_on_the_web_are_those_of_folders_and_annotations(
    web: FileServer, tmp_path: Path
) -> None:
    for name in ("tiger cat/1 ü.jpg", "espresso/2.jpg", "espresso/3%20.jpg"):
        path = web.root / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    web.encodes = True

    def labels(source: str, table: Path | None) -> dict[str, tuple[str, ...]]:
        known = read_known_answers(sources(source), "classify", table, None)
        return {item.name: one.cells for item, one in known.pairs() if one is not None}

    expected = {
        f"{web.url}/val/espresso/2.jpg": ("espresso",),
        f"{web.url}/val/espresso/3%2520.jpg": ("espresso",),
        f"{web.url}/val/tiger%20cat/1%20%C3%BC.jpg": ("tiger cat",),
    }
    assert labels(f"{web.url}/val/", None) == expected
    assert labels(f"{web.url.replace('http', 'HTTP')}/val", None) == expected
    table = tmp_path / "labels.csv"
    rows = "tiger cat/1 ü.jpg,tiger cat\nespresso/2.jpg,espresso\n3%20.jpg,espresso\n"
    table.write_text("file,label\n" + rows)
    assert labels(f"{web.url}/val", table) == expected
    ids = Ids(images={"1 ü.jpg": 17, "2.jpg": 18})
    assert [ids.image(name) for name in expected] == [18, None, 17]


def test_a_file_that_is_refused_has_an_error_while_others_are_read(web: FileServer) -> None:
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (web.root / name).write_bytes(name.encode())
    web.statuses["/2.jpg"] = 403
    assert found(sources(web.url), web.url) == {
        "/1.jpg": b"1.jpg",
        "/2.jpg": "unreadable_source",
        "/3.jpg": b"3.jpg",
    }


def test_a_place_that_is_gone_ends_the_run_after_some_attempts(web: FileServer) -> None:
    (web.root / "1.jpg").write_bytes(b"one")
    (web.root / "2.jpg").write_bytes(b"two")
    waits: list[float] = []
    place = place_of(web, waits)
    assert place.body("1.jpg", None, LARGEST) == b"one"
    web.statuses |= {"/1.jpg": 503, "/2.jpg": 503}
    with pytest.raises(StorageError, match=r"1\.jpg.*503"):
        place.body("2.jpg", None, LARGEST)
    assert waits == [*PAUSES_SECONDS, *PAUSES_SECONDS]


def test_a_place_that_comes_back_is_read_as_if_nothing_was(web: FileServer) -> None:
    (web.root / "1.jpg").write_bytes(b"one")
    web.statuses["/1.jpg"] = 503

    def mended(_: float) -> None:
        web.statuses.clear()

    place = Place(open_remote(parse_url(web.url)), PAUSES_SECONDS, mended)
    assert place.body("1.jpg", None, LARGEST) == b"one"


def test_a_shard_whose_connection_breaks_is_gone_on_with(web: FileServer) -> None:
    path = write_shard(web.root / "a.tar")
    web.cuts["/a.tar"] = [100_000, 5_000_000, 1]
    waits: list[float] = []
    remote = RemotePath(place_of(web, waits), "a.tar")
    with remote.open("rb") as file:
        assert file.read() == path.read_bytes()
    assert len(waits) == 3
    begins = [int(part[6:-1] or 0) for part in web.fetched("a.tar")]
    assert len(begins) == 4
    assert begins == sorted(begins)  # what was on its way when the connection broke may be lost
    assert 0 < begins[-1] <= 5_100_000


def overwritten(web: FileServer, name: str, contents: Iterator[bytes], at_block: int) -> None:
    """Let a file of a web server be overwritten in its place, by the next content before each such block of it."""
    blocks = Counter[str]()
    web.in_place = True

    def overwrite(path: str) -> None:
        blocks[path] += 1
        if path == f"/{name}" and blocks[path] % at_block == 0:
            content = next(contents, None)
            if content is not None:
                (web.root / name).write_bytes(content)

    web.before_write = overwrite


def test_an_image_that_is_overwritten_while_it_comes_is_read_again(web: FileServer) -> None:
    before, after = b"1" * 50_000, b"2" * 25_000 + b"3" * 25_000
    (web.root / "a.jpg").write_bytes(before)
    overwritten(web, "a.jpg", iter([after]), at_block=5)
    item = RemotePath(place_of(web), "a.jpg", len(before)).item(LARGEST)
    assert item.read() == after
    assert len(web.fetched("a.jpg")) == 2


def test_an_image_that_never_stays_as_it_is_has_an_error(web: FileServer) -> None:
    (web.root / "a.jpg").write_bytes(b"1" * 50_000)
    (web.root / "b.jpg").write_bytes(b"whole")
    overwritten(web, "a.jpg", (bytes([number]) * 50_000 for number in range(256)), at_block=5)
    place = place_of(web)
    assert RemotePath(place, "b.jpg", 5).item(LARGEST).read() == b"whole"
    body = RemotePath(place, "a.jpg", 50_000).item(LARGEST).read()
    assert isinstance(body, FovealError)
    assert "it changes while it is read" in str(body)


def test_servers_with_a_tag_each_behind_one_name_are_read(web: FileServer) -> None:
    (web.root / "a.jpg").write_bytes(b"one")
    web.tags = iter(str(number) for number in range(100))
    assert RemotePath(place_of(web), "a.jpg", 3).item(LARGEST).read() == b"one"
    assert len(web.fetched("a.jpg")) == 2


def test_a_shard_that_is_overwritten_while_it_comes_says_so_at_its_end(web: FileServer) -> None:
    images = [bytes([number]) * 20_000 for number in range(1, 4)]
    (web.root / "a.tar").write_bytes(shard_of(images))
    overwritten(web, "a.tar", iter([shard_of([*images[:2], bytes(20_000)])]), at_block=3)
    read = found(sources(f"{web.url}/a.tar"), web.url)
    assert list(read) == [*(f"/a.tar/{number}.jpg" for number in range(1, 4)), "/a.tar"]
    assert read["/a.tar"] == "unreadable_source"


@pytest.mark.parametrize("size", ["equal", "smaller", "larger"])
def test_a_shard_that_is_replaced_while_it_is_read_gives_no_byte_of_the_other(
    s3: Any, tmp_path: Path, size: str
) -> None:
    content = write_shard(tmp_path / "a.tar").read_bytes()
    other = {
        "equal": bytes(len(content)),
        "smaller": bytes(len(content) - 1_000_000),
        "larger": bytes(len(content) + 1_000_000),
    }[size]
    put(s3, "a.tar", content)
    place = Place(open_remote(StorageUrl("s3", BUCKET)), PAUSES_SECONDS, lambda _: None)
    with RemotePath(place, "a.tar", len(content)).open("rb") as file:
        begin = file.read(5_000_000)
        put(s3, "a.tar", other)
        with pytest.raises(OSError, match="it was replaced while it was read"):
            file.read()
    assert content.startswith(begin)


def test_a_shard_is_read_as_it_is_when_its_turn_comes_and_one_that_is_gone_says_so(
    s3: Any,
) -> None:
    def put_shard(name: str, *images: bytes) -> None:
        put(s3, f"set/{name}", shard_of(images))

    for name in ("a.tar", "b.tar", "c.tar"):
        put_shard(name, name.encode())
    items = sources(f"s3://{BUCKET}/set").images()
    first = next(items)  # the bucket has been listed
    put_shard("b.tar", b"b.tar", bytes(50_000))
    s3.delete_object(Bucket=BUCKET, Key="set/c.tar")
    read = {one.name.rpartition("/set/")[2]: one.read() for one in (first, *items)}
    gone = read.pop("c.tar")
    assert isinstance(gone, FovealError)
    assert gone.code == "unreadable_source"
    assert read == {"a.tar/1.jpg": b"a.tar", "b.tar/1.jpg": b"b.tar", "b.tar/2.jpg": bytes(50_000)}


def test_a_gap_in_a_file_is_not_fetched(web: FileServer) -> None:
    path = write_shard(web.root / "a.tar")
    remote = RemotePath(place_of(web), "a.tar")
    content = path.read_bytes()
    with remote.open("rb") as file:
        assert file.read(10) == content[:10]
        file.seek(-10, os.SEEK_END)
        assert file.read() == content[-10:]
        file.seek(5)
        assert file.read(3) == content[5:8]
    assert web.fetched("a.tar") == ["", f"bytes={len(content) - 10}-", "bytes=5-"]


def test_a_server_without_ranges_gives_whole_files_all_the_same(web: FileServer) -> None:
    path = write_shard(web.root / "a.tar")
    web.ranges = False
    web.cuts["/a.tar"] = [6_000_000]
    with RemotePath(place_of(web), "a.tar").open("rb") as file:
        assert file.read() == path.read_bytes()


class WithoutRanges:
    """A file system of one file, before a proxy that answers each part with the same bytes."""

    def __init__(self, content: bytes, answer: bytes) -> None:
        self.content = content
        self.answer = answer

    def invalidate_cache(self) -> None:
        pass

    def info(self, path: str) -> dict[str, object]:
        return {"name": path, "size": len(self.content), "type": "file", "ETag": "1"}

    def open(self, *_: object, **__: object) -> "WithoutRanges":
        return self

    def seek(self, _: int) -> None:
        pass

    def read(self, _: int) -> bytes:
        return self.answer

    def close(self) -> None:
        pass


@pytest.mark.parametrize("answer", ["all", "a page"])
def test_another_part_than_the_one_that_was_asked_for_ends_the_run_at_once(
    tmp_path: Path, answer: str
) -> None:
    """A page of a proxy has few bytes: a file of gigabytes would be asked for a million times."""
    content = write_shard(tmp_path / "a.tar").read_bytes()
    waits: list[float] = []
    there = WithoutRanges(content, content if answer == "all" else b"<html>")
    files = RemoteFiles(StorageUrl("s3", BUCKET), there)
    place = Place(files, PAUSES_SECONDS, waits.append)
    with (
        RemotePath(place, "a.tar", len(content)).open("rb") as file,
        pytest.raises(StorageError, match=r"a\.tar: \d+ bytes came where 4194304 were asked for"),
    ):
        file.read(10)
    assert waits == []


def test_images_elsewhere_are_read_side_by_side_within_a_bound() -> None:
    """Each of four waits until all four are read; a fifth would be too much at once."""
    waiting = threading.Barrier(4)

    def read() -> bytes:
        waiting.wait(10)
        return b"x"

    items = [Item(str(number), read, far_bytes=HELD_BYTES // 4) for number in range(5)]
    assert [name for name, _ in read_some(items)] == ["0", "1", "2", "3"]
    small = [Item(str(number), lambda: b"x", far_bytes=1) for number in range(SIDE_BY_SIDE + 1)]
    assert len(read_some(small)) == SIDE_BY_SIDE


@pytest.mark.parametrize("url", ["gs://bucket/set", "hf://owner/name/set"])
def test_other_places_give_the_same(url: str, tmp_path: Path) -> None:
    files = {
        **{f"set/{number}.jpg": b"x" * number for number in range(1, 8)},
        "set/deep/er/8.png": b"eight",
        "set/.h/9.png": b"hidden",
        "set/notes.txt": b"",
        "settings/1.jpg": b"another prefix",
    }
    with stand_in_for(files) as there:
        assert read_once(there, tmp_path, url, f"{url}/*/er") == {
            **{f"{url}/{number}.jpg": crc32(b"x" * number) for number in range(1, 8)},
            f"{url}/deep/er/8.png": crc32(b"eight"),
        }


@pytest.mark.parametrize("url", ["gs://bucket", "hf://owner/name"])
def test_a_shard_that_is_replaced_between_two_blocks_gives_no_byte_of_the_other(
    url: str, tmp_path: Path
) -> None:
    """A bucket has the old version no more; of a repository, all of it comes from one commit."""
    images = [bytes([number]) * 1_000_000 for number in range(1, 9)]
    before, after = shard_of(images), shard_of([bytes(1_000_000)] * 8)
    assert len(before) == len(after) > CHUNK_BYTES
    files, parts = {"a.tar": before}, Counter[str]()

    def replace(path: str) -> None:
        parts[path] += 1
        if parts[path] == 3:  # the first is that of the check before the run
            files["a.tar"] = after

    with stand_in_for(files) as there:
        there.before_part = replace
        found = read_once(there, tmp_path, f"{url}/a.tar")
    assert files["a.tar"] == after
    read = [found.pop(f"{url}/a.tar/{number}.jpg", None) for number in range(1, 9)]
    expected: list[int | None] = [crc32(one) for one in images]
    if url.startswith("gs:"):
        expected[4:] = [None] * 4
        assert found.pop(f"{url}/a.tar") == "unreadable_source"
    assert read == expected
    assert found == {}


def read_once(there: StandIn, home: Path, *urls: str) -> dict[str, int | str | None]:
    """Return the checksum of each image, or the code of its error, by name."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.bulk.read_once", *urls],
        env=there.environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hf_secret" not in done.stdout + done.stderr
    found: dict[str, int | str | None] = json.loads(done.stdout)
    return found


def shard_of(images: Sequence[bytes]) -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as shard:
        for number, image in enumerate(images, 1):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(image)
            shard.addfile(member, BytesIO(image))
    return packed.getvalue()


def test_done_members_and_rows_are_not_fetched_where_the_file_says_where_they_are(
    web: FileServer,
) -> None:
    """A tar file says where the next member begins, a Parquet file where each group of rows is."""
    large = 2 * CHUNK_BYTES
    with tarfile.open(web.root / "a.tar", "w") as shard:
        for name, size in {"1.jpg": large, "2.jpg": large, "3.jpg": 10}.items():
            member = tarfile.TarInfo(name)
            member.size = size
            shard.addfile(member, BytesIO(bytes(size)))
    url = f"{web.url}/a.tar"
    done = {f"{url}/1.jpg", f"{url}/2.jpg"}.__contains__
    (left,) = sources(url).images(done)
    assert (left.name, left.read()) == (f"{url}/3.jpg", bytes(10))
    begins = [int(part[6:-1] or 0) for part in web.fetched("a.tar")]
    assert len(begins) == 3  # after each of the large ones the file is opened further on
    assert begins[-1] > 2 * large


def test_a_place_is_asked_once_however_often_its_files_are_gone_through(web: FileServer) -> None:
    for name in ("a/1.jpg", "a/b/2.jpg", "c.jpg", "d.tar"):
        (web.root / name).parent.mkdir(parents=True, exist_ok=True)
        (web.root / name).write_bytes(b"x")
    write_shard(web.root / "d.tar")
    places = Places()
    names = (f"{web.url}/a", f"{web.url}/c.jpg", f"{web.url}/d.tar")
    for _ in range(2):
        again = sources(*names, places=places)
        again.check()
        assert len(list(again.images())) == 7
        assert again.count() is None
    asked = [(method, path) for method, path, _ in web.requests]
    looked = [
        one
        for before, one in pairwise([("", ""), *asked])
        if one[1].endswith("/") or (one[0] == "HEAD" and before != ("GET", one[1]))
    ]
    shard = ("HEAD", "/d.tar")  # is looked at whenever it is opened too
    assert shard in looked
    assert sorted(one for one in looked if one != shard) == sorted(
        [("GET", "/a/"), ("GET", "/a/b/"), ("HEAD", "/c.jpg")]
    )
