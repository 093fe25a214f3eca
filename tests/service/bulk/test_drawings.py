"""Drawings as files: whole or not at all."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bulk.answers import Answer
from service.bulk.drawings import Drawings
from service.errors import ConfigurationError
from service.imaging.overlay import RenderedImage


def answer(name: str, size: int) -> Answer:
    drawing = RenderedImage(bytes(size), "image/png")
    return Answer({"image": name, "model": "colors", "version": 1, "result": {}}, drawing)


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file of this process grow above 1000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_fills_leaves_no_part_of_a_drawing(tmp_path: Path) -> None:
    drawings = Drawings(tmp_path / "drawn")
    with pytest.raises(ConfigurationError, match=r"b\.jpg\.png can not be written: File too large"):
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
