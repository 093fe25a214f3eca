"""Tar files that Python's own writer and tar made, whole and cut: each image has its row, and a cut is never silent."""

import gzip
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Literal

import pytest

from service.bulk.shard import count_in_shard, images_in_shard
from service.errors import FovealError

LARGEST = 3000
BLOCK = 512


def write_shard(
    path: Path, members: dict[str, bytes], mode: Literal["w", "w:gz", "w:bz2", "w:xz"] = "w"
) -> Path:
    with tarfile.open(path, mode) as shard:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, BytesIO(content))
    return path


def read(path: Path) -> tuple[list[tuple[str, bytes | str]], int]:
    """Return name and bytes, or code, of each image, and how many files were skipped."""
    skipped: list[None] = []
    found: list[tuple[str, bytes | str]] = []
    for item in images_in_shard(path, LARGEST, lambda: skipped.append(None)):
        body = item.read()
        name = item.name.removeprefix(f"{path}/")
        found.append((name, body.code if isinstance(body, FovealError) else body))
    return found, len(skipped)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.tar", "w"),
        ("a.tar.gz", "w:gz"),
        ("a.tgz", "w:gz"),
        ("a.tar.bz2", "w:bz2"),
        ("a.TAR.XZ", "w:xz"),
    ],
)
def test_a_sample_of_webdataset_is_one_image(
    tmp_path: Path, name: str, mode: Literal["w", "w:gz", "w:bz2", "w:xz"]
) -> None:
    members = {
        "d.1/0001.cls": b"7",
        "d.1/0001.depth.png": b"depth",
        "d.1/0001.jpg": b"one",
        "d.1/0001.seg.png": b"mask",
        "./0002.JPG": b"two",
        "holiday.2024.jpg": b"no sample, but an image",
        "0003.txt": b"text",
        "._0004.jpg": b"hidden",
        "0004.": b"no extension",
        "0005": b"no dot",
    }
    path = write_shard(tmp_path / name, members, mode)

    images, skipped = read(path)

    assert images == [
        ("d.1/0001.jpg", b"one"),
        ("0002.JPG", b"two"),
        ("holiday.2024.jpg", b"no sample, but an image"),
    ]
    assert skipped == 6


def test_members_that_are_no_images_to_read_have_errors(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", {"large.jpg": b"x" * (LARGEST + 1), "empty.jpg": b""})
    with tarfile.open(path, "a") as shard:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        shard.addfile(link)

    assert read(path)[0] == [
        ("large.jpg", "body_too_large"),
        ("empty.jpg", "empty_image"),
        ("link.jpg", "unreadable_source"),
    ]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_hard_link_is_the_file_that_it_leads_to(
    tmp_path: Path, mode: Literal["w", "w:gz"]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, content in (("a.jpg", b"one"), ("b.jpg", b"x" * (LARGEST + 1)), ("c.bin", b"two")):
        (folder / name).write_bytes(content)
    for link, file in (("d.jpg", "c.bin"), ("e.jpg", "a.jpg"), ("f.jpg", "b.jpg")):
        (folder / link).hardlink_to(folder / file)
    path = tmp_path / ("a.tar" if mode == "w" else "a.tar.gz")
    with tarfile.open(path, mode) as shard:
        for name in ("a.jpg", "b.jpg", "c.bin", "d.jpg", "e.jpg", "f.jpg"):
            shard.add(folder / name, f"./{name}")
        dangling = tarfile.TarInfo("g.jpg")
        dangling.type, dangling.linkname = tarfile.LNKTYPE, "nothing.jpg"
        shard.addfile(dangling)

    assert read(path) == (
        [
            ("a.jpg", b"one"),
            ("b.jpg", "body_too_large"),
            ("d.jpg", b"two"),
            ("e.jpg", b"one"),
            ("f.jpg", "body_too_large"),
            ("g.jpg", "unreadable_source"),
        ],
        1,
    )
    assert count_in_shard(path) == (6 if mode == "w" else None)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_hard_link_may_lead_to_another_hard_link(
    tmp_path: Path, mode: Literal["w", "w:gz"]
) -> None:
    path = tmp_path / ("a.tar" if mode == "w" else "a.tar.gz")
    kinds = {"z.jpg": tarfile.SYMTYPE}
    links = {"b.jpg": "a.jpg", "c.jpg": "./b.jpg", "d.jpg": "d.jpg", "e.jpg": "f.jpg"}
    links |= {"f.jpg": "e.jpg", "z.jpg": "/etc/passwd", "y.jpg": "z.jpg"}
    with tarfile.open(path, mode) as shard:
        for content in (b"one", b"two"):  # a name may come twice: what is before the link counts
            info = tarfile.TarInfo("a.jpg")
            info.size = len(content)
            shard.addfile(info, BytesIO(content))
            for name, target in links.items():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = kinds.get(name, tarfile.LNKTYPE), target
                shard.addfile(link)

    bad = "unreadable_source"
    rest = [("d.jpg", bad), ("e.jpg", bad), ("f.jpg", bad), ("z.jpg", bad), ("y.jpg", bad)]
    assert read(path)[0] == [
        *[("a.jpg", b"one"), ("b.jpg", b"one"), ("c.jpg", b"one"), *rest],
        *[("a.jpg", b"two"), ("b.jpg", b"two"), ("c.jpg", b"two"), *rest],
    ]


def test_a_hard_link_of_gnu_tar_in_a_shard_that_is_cut_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "b.jpg").hardlink_to(tmp_path / "a.jpg")
    path = tmp_path / "a.tar"
    subprocess.run(["tar", "-cf", path, "-C", tmp_path, "a.jpg", "b.jpg"], check=True)
    path.write_bytes(path.read_bytes()[: 3 * BLOCK])  # without the mark at the end

    images, _ = read(path)

    assert images[:2] == [("a.jpg", b"one"), ("b.jpg", b"one")]
    assert images[2:] == [(str(path), "unreadable_source")]


def test_a_cut_at_any_place_is_told(tmp_path: Path) -> None:
    members = {f"{index}.jpg": bytes([index]) * 700 for index in range(4)}
    whole = write_shard(tmp_path / "whole.tar", members).read_bytes()
    end = 4 * (BLOCK + 2 * BLOCK)  # header and two blocks each; behind them are zeros
    path = tmp_path / "cut.tar"

    for at in [*range(0, end + 1, BLOCK), 1, 700, BLOCK + 1, end - 100]:
        path.write_bytes(whole[:at])
        images, _ = read(path)
        assert images[-1] == (str(path), "unreadable_source"), at
        complete = min(4, (at + 2 * BLOCK - 700) // (3 * BLOCK))
        assert images[:-1] == [(name, members[name]) for name in list(members)[:complete]], at

    path.write_bytes(whole[: end + BLOCK])
    assert [name for name, _ in read(path)[0]] == list(members)


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    members = {f"{index}.jpg": b"x" for index in range(4)}
    whole = bytearray(write_shard(tmp_path / "a.tar", members).read_bytes())
    whole[4 * BLOCK : 5 * BLOCK] = b"\x7f" * BLOCK  # the header of the third
    (tmp_path / "a.tar").write_bytes(whole)
    assert [code for _, code in read(tmp_path / "a.tar")[0]] == [b"x", b"x", "unreadable_source"]

    packed = write_shard(tmp_path / "b.tar.gz", members, "w:gz").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(packed[:-20])
    assert read(tmp_path / "b.tar.gz")[0][-1] == (str(tmp_path / "b.tar.gz"), "unreadable_source")
    (tmp_path / "c.tar.gz").write_bytes(b"no gzip")
    assert read(tmp_path / "c.tar.gz")[0] == [(str(tmp_path / "c.tar.gz"), "unreadable_source")]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_more_behind_the_end_is_told(tmp_path: Path, ending: str) -> None:
    """As where files were joined by cat, or a part in the middle was lost: readers of tar files end at zeros."""
    first = write_shard(tmp_path / "1.tar", {"1.jpg": b"one"}).read_bytes()
    second = write_shard(tmp_path / "2.tar", {"2.jpg": b"two"}).read_bytes()
    path, packed = tmp_path / f"a{ending}", ending.endswith("gz")

    path.write_bytes(gzip.compress(first + second) if packed else first + second)
    assert read(path)[0] == [("1.jpg", b"one"), (str(path), "unreadable_source")]
    assert count_in_shard(path) is None

    padded = first + bytes(3 << 20)
    path.write_bytes(gzip.compress(padded) if packed else padded)
    assert read(path)[0] == [("1.jpg", b"one")]


def test_images_are_counted_without_being_read(tmp_path: Path) -> None:
    members = {"1.jpg": b"x", "1.cls": b"1", "2.png": b"y"}
    assert count_in_shard(write_shard(tmp_path / "a.tar", members)) == 2
    assert count_in_shard(write_shard(tmp_path / "a.tar.gz", members, "w:gz")) is None


def test_the_same_name_twice_is_two_images(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", {"1.jpg": b"first"})
    with tarfile.open(path, "a") as shard:
        info = tarfile.TarInfo("1.jpg")
        info.size = 6
        shard.addfile(info, BytesIO(b"second"))

    assert read(path)[0] == [("1.jpg", b"first"), ("1.jpg", b"second")]


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_shard_that_tar_made_has_its_images(tmp_path: Path, ending: str) -> None:
    folder, path = tmp_path / "images", tmp_path / f"a{ending}"
    long = "n" * 150
    (folder / long).mkdir(parents=True)
    (folder / long / "0001.jpg").write_bytes(b"one")
    (folder / "ü.png").write_bytes(b"two")
    (folder / "notes.txt").write_bytes(b"text")
    subprocess.run(["tar", "-C", folder, "-caf", path, "."], check=True)

    images, others = read(path)
    assert sorted(images) == [(f"{long}/0001.jpg", b"one"), ("ü.png", b"two")]
    assert others == 1


def test_what_is_done_is_left_out_and_its_bytes_are_not_read(tmp_path: Path) -> None:
    members = {"1.jpg": b"x" * 2000, "2.jpg": b"two", "3.seg.png": b"alone", "4.jpg": b"four"}
    path = write_shard(tmp_path / "a.tar", members)
    content = bytearray(path.read_bytes())
    asked: list[str] = []

    def done(name: str) -> bool:
        asked.append(name.removeprefix(f"{path}/"))
        return asked[-1] in {"1.jpg", "3.seg.png"}

    read = {item.name: item.read() for item in images_in_shard(path, LARGEST, lambda: None, done)}
    assert read == {f"{path}/2.jpg": b"two", f"{path}/4.jpg": b"four"}
    assert asked == list(members)  # each once, in order

    path.write_bytes(content[: BLOCK + 100])  # the file ends in the first image, which is done
    asked.clear()
    (cut,) = images_in_shard(path, LARGEST, lambda: None, done)
    assert cut.name == str(path)
    assert asked == ["1.jpg", str(path)]


def test_a_cut_that_has_its_row_has_no_second_one(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", {"1.jpg": b"x" * 2000})
    path.write_bytes(path.read_bytes()[:1000])
    assert list(images_in_shard(path, LARGEST, lambda: None, lambda name: name == str(path))) == []
