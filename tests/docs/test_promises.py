"""What the pages on security and reliability promise has a test behind it, and the tests that they name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("security.md", "reliability.md")]
_NAMED = re.compile(r"\[((?:tests/|test_)[^\]]+)\]")
_ITEM = re.compile(r"\n(?=- |\n)")
ADVICE = (
    "- `FOVEAL_CACHE` is in",
    "- `foveal-export` downloads weights only",
    "- `make corpora` posts",
    "- `make fuzz` does the same",
    "- Videos and animations on `/v1/video` are decoded",
    "- Set it where models come from people",
)
"""The beginnings of items that tell what is there or what to do, and promise nothing."""


def items(page: Path) -> list[str]:
    return [one.strip() for one in _ITEM.split(page.read_text()) if one.strip().startswith("- ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_promise_names_its_test(page: Path) -> None:
    found = items(page)
    assert len(found) > 20
    assert [one for one in found if not _NAMED.search(one) and not one.startswith(ADVICE)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_are_named_are_there(page: Path) -> None:
    text = page.read_text()
    rows = [
        line.rpartition("|")[0].rpartition("|")[2]
        for line in text.splitlines()
        if "tests/" in line and "|" in line
    ]
    names = [one.strip() for group in [*_NAMED.findall(text), *rows] for one in group.split(",")]
    assert len(names) > 20
    there = [
        (ROOT / name).exists() or any((ROOT / "tests").rglob(name) if "/" not in name else ())
        for name in names
    ]
    assert [name for name, found in zip(names, there, strict=True) if not found] == []
