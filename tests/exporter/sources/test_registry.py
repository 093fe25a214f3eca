"""Kinds of sources."""

import pytest

from exporter.errors import SourceError
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sources.registry import SOURCES, load_network


@pytest.mark.parametrize("source", ["keras:net", "net", "onnx:"])
def test_an_unknown_kind_or_an_empty_place_names_the_known_kinds(source: str) -> None:
    recipe = make_recipe({"source": source, "task": "classify", "name": "net"})
    with pytest.raises(SourceError, match=", ".join(SOURCES)):
        load_network(recipe, SilentProgress())
