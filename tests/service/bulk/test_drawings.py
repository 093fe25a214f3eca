"""Drawings as files: whole or not at all."""

from pathlib import Path

import pytest

from service.bulk.answers import Answer
from service.bulk.drawings import Drawings
from service.errors import ConfigurationError
from service.imaging.overlay import RenderedImage
from tests.full_disk import small_files


def answer(name: str, size: int) -> Answer:
    drawing = RenderedImage(bytes(size), "image/png")
    return Answer({"image": name, "model": "colors", "version": 1, "result": {}}, drawing)


def test_a_disk_that_fills_leaves_no_part_of_a_drawing(tmp_path: Path) -> None:
    drawings = Drawings(tmp_path / "drawn")
    full = r"b\.jpg\.png can not be written: File too large"
    with small_files(), pytest.raises(ConfigurationError, match=full):
        drawings.add([answer("a.jpg", 100), answer("b.jpg", 2000)])
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["a.jpg.png"]


def test_names_with_any_character_have_a_file_each(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "A.jpg",
        "\u00fc.jpg",
        "u\u0308.jpg",
        "..",
        "x/../a.jpg",
        "\n.jpg",
        "%0A.jpg",
        "\u732b" * 90,
    ]
    Drawings(tmp_path).add([answer(name, 10) for name in names])
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == len(names)
