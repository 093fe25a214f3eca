"""What the pages on security and reliability promise has a test behind it, and the tests that they name are there."""

import re
from pathlib import Path

import pytest

from service import response_cache, shadows, toml_file
from service.api import json_value, middleware, queries
from service.api.dialects.label_studio import config
from service.api.errors import SHOWN_FAULTS
from service.api.guards import counters
from service.api.ingest import images, part
from service.api.ingest.json_pieces import PieceParser
from service.chains import definition
from service.cluster import resending
from service.faults import SHOWN
from service.graph import outline
from service.imaging import decode, overlay, tiff_directory
from service.processes import limits, rest_of_body, transport
from service.runtime import model
from service.settings import Settings

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

NUMBERS = (
    f"`FOVEAL_MAX_HEAD_BYTES` ({limits.HEAD_BYTES >> 10} KiB)",
    f"`FOVEAL_HEAD_TIMEOUT_MS` ({limits.HEAD_SECONDS:g} s)",
    f"`FOVEAL_IDLE_TIMEOUT_MS` ({limits.IDLE_SECONDS:g} s)",
    f"up to {transport.LINGER_BYTES >> 20} MiB and for {transport.LINGER_SECONDS:g} s on a connection",
    f"closed, {rest_of_body.DISCARD_SECONDS:g} s on one that is kept",
    f"reads less than {transport.LEAST_WRITTEN >> 10} KiB of its answer",
    f"A chain makes at most {definition.MOST_CROPS:,} crops of an image",
    f"at most {decode.DEEP_BYTES_PER_PIXEL} bytes for each pixel that is allowed",
    f"at most {overlay.MOST_PNG_PIXELS // 1_000_000} million pixels",
    f"are read in pieces of {PieceParser().piece_bytes >> 10} KiB",
    f"has at most {PieceParser().most_rest_bytes >> 20} MiB beside its strings",
    f"load it once. {model.MOST_WAITING} of them wait",
    f"Shadows hold at most {shadows.MOST_IMAGES} images and {shadows.MOST_BYTES >> 20} MiB of them",
    f"removes at most {response_cache.MOST_EVICTED} entries for a new one",
    f"sent again hold {resending.MOST_KEPT_BYTES >> 20} MiB together",
    f"`FOVEAL_MAX_JSON_DEPTH` ({images.MAX_JSON_DEPTH})",
    f"has at most {part.MOST_PARAMETERS} semicolons, a query at most {queries.MOST_PARAMETERS:,} parameters",
    f"and repeats {SHOWN} characters of a value",
    f"a tag of more than {tiff_directory.MOST_TAG_BYTES:,} bytes",
    f"at most {tiff_directory.MOST_TAGS:,} tags up to the page",
    f"has at most {tiff_directory.MOST_VALUE_BYTES:,} bytes, but for XMP",
    f"fills in at most {config.MOST_CONTROLS} tags",
    f"The JSON of an admin call has at most {json_value.LARGEST_BODY >> 10} KiB",
    f"repeats at most {middleware.LONGEST_PATH:,} characters of a path",
    f"They have at most {toml_file.MOST_BYTES >> 20} MiB",
    f"graphs nested more than {outline.MOST_DEPTH} deep",
    f"At most {counters.MOST_COUNTERS:,} clients are counted",
)
"""What docs/security.md says of limits that are no settings, made from the code."""


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


def test_the_page_has_the_numbers_of_the_code() -> None:
    text = " ".join(PAGES[0].read_text().split())
    assert [one for one in NUMBERS if one not in text] == []
    assert (SHOWN_FAULTS, limits.MOST_WAITING) == (20, 4), "the page has these in words"
    assert Settings().max_json_depth == images.MAX_JSON_DEPTH
