"""Real images to prove and to calibrate with."""

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from exporter.errors import RecipeError
from exporter.images import images_in, photographs


def test_images_come_from_a_folder_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, body in zip(("b.jpg", "a.jpg", "c.jpg"), photographs(3), strict=True):
        (tmp_path / name).write_bytes(body)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.jpg").write_bytes(b"what macOS puts beside a file")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints/0.jpg").write_bytes(photographs(1)[0])

    found = images_in(tmp_path, limit=2)

    assert found == ((tmp_path / "a.jpg").read_bytes(), (tmp_path / "b.jpg").read_bytes())


def test_every_second_view_shows_other_photographs() -> None:
    """So no photograph is calibrated with and measured on too."""
    sizes = [Image.open(BytesIO(body)).size for body in photographs(70)]
    count = len(sizes) // 5
    quarters = [(width * 3 // 5, height * 3 // 5) for width, height in sizes[:count]]

    assert count % 2 == 0
    assert sizes[count:] == quarters * 4


@pytest.mark.parametrize("limit", [0, 1, 5, 20])
def test_fewer_photographs_are_the_first_of_all(limit: int) -> None:
    assert photographs(limit) == photographs(70)[:limit]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(RecipeError, match="there is no image in this folder"):
        images_in(tmp_path, limit=2)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such folder"):
        images_in(tmp_path / "absent", limit=2)


@pytest.mark.parametrize("body", [b"", b"no image", photographs(1)[0][:5000]])
def test_an_image_that_can_not_be_read_is_named(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(photographs(1)[0])
    (tmp_path / "b.jpg").write_bytes(body)
    with pytest.raises(RecipeError, match=r"b\.jpg can not be proved with: .*Remove it"):
        images_in(tmp_path, limit=5)


def test_all_images_that_can_not_be_read_are_named_at_once(tmp_path: Path) -> None:
    """Those too that take the place of others when these are removed."""
    (tmp_path / "deep").mkdir()
    for name in ("a.jpg", "e.jpg"):
        (tmp_path / name).write_bytes(photographs(1)[0])
    for name in ("b.jpg", "deep/d.png", "f.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(RecipeError, match="2 files can not be proved with") as refused:
        images_in(tmp_path, limit=2)
    with pytest.raises(RecipeError, match="3 files"):
        images_in(tmp_path, limit=5)
    named = [line.split(":")[0] for line in str(refused.value).splitlines()[1:]]
    assert named == ["  b.jpg", "  deep/d.png"]


@pytest.mark.parametrize(("count", "words"), [(12, "12 files"), (101, "at least 100 files")])
def test_of_many_images_that_can_not_be_read_ten_are_named(
    count: int, words: str, tmp_path: Path
) -> None:
    for index in range(count):
        (tmp_path / f"{index:03}.jpg").write_bytes(b"no image")
    with pytest.raises(RecipeError, match=f"^--images: {words} can not") as refused:
        images_in(tmp_path, limit=3)
    lines = str(refused.value).splitlines()
    assert (lines[1].split(":")[0], lines[10].split(":")[0]) == ("  000.jpg", "  009.jpg")
    assert lines[11:] == [f"  and {min(count, 100) - 10} more"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads every folder")
def test_a_folder_that_can_not_be_listed_is_named(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    with pytest.raises(RecipeError, match=r"^--images .*locked: the folder can not be listed"):
        images_in(tmp_path, limit=2)
