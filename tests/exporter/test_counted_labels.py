"""A file of labels with a count beside each name gives labels with the count in them, and a warning says so."""

from pathlib import Path

import pytest

from exporter.counted_labels import counted_hints
from tests.exporter.exporting import export_to
from tests.exporter.labeled.test_measure import color_network


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("red 400\ngreen 250\nblue 300\n", "Each label ends with a number, as 'red 400'"),
        ("400 red\n250 green\n300 blue\n", "Each label begins with a number, as '400 red'"),
        ("red 0\ngreen 1\nblue 2\n", None),  # class ids, which are no part of the labels
        ("red\ngreen\nblue\n", None),
    ],
)
def test_counts_beside_labels_are_named(tmp_path: Path, text: str, words: str | None) -> None:
    (tmp_path / "labels.txt").write_text(text)

    done = export_to(tmp_path, color_network(tmp_path), labels="labels.txt")

    hints = [one for one in done.hints if "Each label" in one]
    assert [words in one for one in hints if words] == ([True] if words else [])
    assert len(hints) == (words is not None)


@pytest.mark.parametrize(
    "labels",
    [
        ("class 1", "class 2"),
        ("20 km/h", "30 km/h", "stop"),
        ("Boeing 737", "glider"),
        ("0", "1", "10"),
        ("cat 400",),
        ("t-shirt2", "coat5"),
    ],
)
def test_names_with_numbers_are_names(labels: tuple[str, ...]) -> None:
    assert counted_hints(labels) == []
