"""docs/recipe.md: what `make reference` writes, and complete."""

from pathlib import Path

from typer.main import get_command

from exporter.cli import app
from exporter.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"


def test_the_page_is_that_of_the_model() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run make reference"


def test_the_page_has_every_option_with_its_choices() -> None:
    export = get_command(app).commands["export"]  # type: ignore[attr-defined] # typer's group
    page = PAGE.read_text(encoding="utf-8")
    for parameter in export.params:
        for option in set(parameter.opts) - {"source", "--models", "--explain"}:
            assert f"| `{option}` |" in page, option
    assert "`crop`, `stretch`, `letterbox`" in page
    assert (
        "| `task` | `--task` | `classify`, `segment`, `detect`, `embed`, `temporal` | required |"
        in page
    )
    assert "| `limit` | `--image-limit` | whole number ≥ 1 | 70 |" in page
