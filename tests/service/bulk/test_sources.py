"""Files on a real disk: which of them are images, in which order, and what becomes of those that can not be read."""

import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from service.bulk.sources import Sources
from service.errors import ConfigurationError, FovealError

LARGEST = 100


def sources(*names: str | Path, listed: bytes = b"", separator: bytes = b"\n") -> Sources:
    return Sources([str(name) for name in names], LARGEST, BytesIO(listed), separator)


def found(given: Sources) -> dict[str, bytes | str]:
    """Return the bytes of each image, or the code of its error, by name."""
    read = {item.name: item.read() for item in given.images()}
    return {name: one.code if isinstance(one, FovealError) else one for name, one in read.items()}


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_gives_its_images_by_name_and_counts_the_other_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/2.jpg", "a/1.jpeg", "c.avif", "a.txt", ".hidden.jpg", ".git/d.jpg"):
        write(tmp_path / name, name.encode())
    given = sources(tmp_path)

    assert [item.name for item in given.images()] == [
        f"{tmp_path}/{name}" for name in ("a/1.jpeg", "a/2.jpg", "b.PNG", "c.avif")
    ]
    assert given.others == 1
    assert sources(tmp_path).count() == 4


def test_links_are_followed_and_a_loop_of_them_ends(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "z.jpg")
    write(tmp_path / "elsewhere/y.jpg")
    (root / "a").mkdir()
    (root / "a/up").symlink_to(root)
    (root / "a/again").symlink_to("..")
    (root / "m").symlink_to(tmp_path / "elsewhere")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "gone.jpg").symlink_to("nothing.jpg")

    assert found(sources(root)) == {
        f"{root}/gone.jpg": "unreadable_source",
        f"{root}/m/y.jpg": b"x",
        f"{root}/self.jpg": "unreadable_source",
        f"{root}/z.jpg": b"x",
    }


def test_what_is_no_file_of_the_right_size_has_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # whose reader would wait for a writer
    write(tmp_path / "empty.jpg", b"")
    write(tmp_path / "large.jpg", b"x" * (LARGEST + 1))
    write(tmp_path / "just.jpg", b"x" * LARGEST)

    assert found(sources(tmp_path)) == {
        f"{tmp_path}/empty.jpg": "empty_image",
        f"{tmp_path}/just.jpg": b"x" * LARGEST,
        f"{tmp_path}/large.jpg": "body_too_large",
        f"{tmp_path}/pipe.jpg": "unreadable_source",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_has_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    (tmp_path / "locked").mkdir(mode=0)

    assert found(sources(tmp_path))[f"{tmp_path}/locked"] == "unreadable_source"


def test_names_may_have_any_character(tmp_path: Path) -> None:
    names = [b"new\nline.jpg", "ü 日本.jpg".encode(), b"latin\xff.jpg", b"a*[b].jpg"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(name)

    by_folder = found(sources(tmp_path))
    assert sorted(by_folder.values(), key=str) == sorted(names, key=str)
    assert f"{tmp_path}/latin\\xff.jpg" in by_folder
    assert f"{tmp_path}/new\nline.jpg" in by_folder

    paths = [bytes(tmp_path) + b"/" + name for name in names]
    assert found(sources("-", listed=b"\0".join(paths), separator=b"\0")) == by_folder
    assert found(sources(tmp_path / "a*[b].jpg")) == {f"{tmp_path}/a*[b].jpg": names[3]}


def test_a_pattern_gives_what_it_matches_each_once(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/b/2.jpg", "a/.h.jpg", "3.jpg", "4.png"):
        write(tmp_path / name, name.encode())
    (tmp_path / "a/loop").symlink_to(tmp_path)

    deep = found(sources(f"{tmp_path}/**/*.jpg"))
    assert list(deep.values()) == [b"3.jpg", b"a/1.jpg", b"a/b/2.jpg"]
    assert list(found(sources(f"{tmp_path}/*.jpg")).values()) == [b"3.jpg"]
    assert list(found(sources(f"{tmp_path}/a/[b]")).values()) == [b"a/b/2.jpg"]


def test_a_list_names_files_and_folders_and_goes_on_after_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", b"a")
    write(tmp_path / "folder/b.jpg", b"b")
    write(tmp_path / "no-extension", b"c")
    lines = (
        f"{tmp_path}/a.jpg\r\n\n{tmp_path}/nothing.jpg\n{tmp_path}/folder\n{tmp_path}/no-extension"
    )

    assert list(found(sources("-", listed=lines.encode())).values()) == [
        b"a",
        "unreadable_source",
        b"b",
        b"c",
    ]
    assert sources("-").count() is None


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_a_byte_order_mark_before_a_list_is_no_part_of_the_first_path(
    tmp_path: Path, separator: bytes
) -> None:
    paths = [write(tmp_path / name, name.encode()) for name in ("a.jpg", "b.jpg")]
    listed = b"\xef\xbb\xbf" + separator.join(str(path).encode() for path in paths)

    images = found(sources("-", listed=listed, separator=separator))

    assert images == {str(path): path.name.encode() for path in paths}


def test_an_image_that_is_named_twice_comes_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg")

    assert [item.name for item in sources(path, path).images()] == [str(path)] * 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "There is no file or folder"),
        ("gone", "is a link to something that is not there"),
        ("nothing/*.jpg", r"matches no image\."),
        ("texts", "has no image, and 1 other files"),
        ("empty.tar", "is damaged or cut"),
    ],
)
def test_a_source_without_images_is_refused(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path / "texts/a.txt")
    write(tmp_path / "empty.tar", b"")
    (tmp_path / "gone").symlink_to("nothing")
    given = sources(write(tmp_path / "a.jpg"), tmp_path / name)

    if name.endswith(".tar"):  # this has a row that says so
        assert found(given)[f"{tmp_path}/{name}"] == "unreadable_source"
        return
    for look in (given.check, lambda: list(given.images())):
        with pytest.raises(ConfigurationError, match=message):
            look()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 5000, r"x{200}…' can not be read: File name too long"),
        ("?" * 300, "can not be searched: File name too long|matches no image"),
        ("", "has no name. Write . for the folder you are in"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sources(name).check()


def test_a_name_in_a_list_that_no_file_can_have_is_a_row(tmp_path: Path) -> None:
    long = "x" * 5000
    image = write(tmp_path / "a.jpg")
    given = sources("-", listed=f"{long}\n{image}\n".encode())
    assert found(given) == {long: "unreadable_source", str(image): b"x"}


def test_two_stars_at_the_end_of_a_pattern_are_all_files_below(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/c.jpg", "b/d/e.jpg", "b/.f.jpg"):
        write(tmp_path / name)
    given = sources(tmp_path / "b/**")
    assert sorted(found(given)) == [f"{tmp_path}/b/c.jpg", f"{tmp_path}/b/d/e.jpg"]
    assert sorted(found(sources(tmp_path / "**"))) == [
        f"{tmp_path}/{name}" for name in ("a.jpg", "b/c.jpg", "b/d/e.jpg")
    ]


@pytest.mark.parametrize("ending", ["tar.zst", "TZST", "zip"])
def test_an_archive_that_is_not_read_says_so(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a.{ending}")
    (item,) = sources(path).images()
    error = item.read()
    assert isinstance(error, FovealError)
    assert "Archives of this kind are not read" in str(error)
    with pytest.raises(ConfigurationError, match="1 other files"):
        sources(tmp_path).check()


def test_an_empty_list_and_two_lists_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="The list of paths has no image"):
        list(sources("-", listed=b"\n\n").images())
    with pytest.raises(ConfigurationError, match="among the sources twice"):
        sources("-", "-").check()


def test_folders_hold_shards_and_the_results_are_no_source(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", b"a")
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        shard.add(tmp_path / "a.jpg", "in.jpg")
    write(tmp_path / "results.parquet", b"no Parquet")
    given = sources(tmp_path)
    given.left_out = frozenset({(tmp_path / "results.parquet").absolute()})

    assert found(given) == {f"{tmp_path}/a.jpg": b"a", f"{tmp_path}/s.tar/in.jpg": b"a"}
    assert sources(tmp_path / "s.tar", tmp_path / "a.jpg").count() == 2
