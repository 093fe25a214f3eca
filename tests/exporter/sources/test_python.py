"""`python:` sources: objects in the user's own code."""

import sys
from pathlib import Path

import pytest

from exporter.errors import SourceError
from exporter.progress import SilentProgress
from exporter.recipe import Recipe, make_recipe
from exporter.sources.python import find, load


def recipe(where: str, **fields: object) -> Recipe:
    return make_recipe({"source": f"python:{where}", "task": "classify", "name": "net", **fields})


def test_a_module_in_the_recipe_s_folder_is_found_and_the_path_stays_clean(tmp_path: Path) -> None:
    (tmp_path / "some_networks.py").write_text("class Nets:\n    number = 7\n")
    before = list(sys.path)
    found = find("some_networks:Nets.number", recipe("some_networks:Nets.number", folder=tmp_path))
    assert found == 7
    assert sys.path == before


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("math", "write python:package.module:callable"),
        ("no_such_module:net", "there is no module no_such_module"),
        ("math:no_such_name", "no_such_name"),
    ],
)
def test_what_is_not_there_is_named(where: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        find(where, recipe(where))


@pytest.mark.parametrize(
    ("where", "fields", "message"),
    [
        ("builtins:dict", {}, "returns a dict, not a torch.nn.Module"),
        ("torch.nn:Linear", {}, r"keyword arguments are the recipe's \[arguments\]"),
        ("torch.nn:Identity", {}, "--weights none for random ones"),
    ],
)
def test_a_callable_that_makes_no_network_is_refused(
    where: str, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        load(where, recipe(where, **fields), SilentProgress())
