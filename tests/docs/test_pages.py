"""What the documents promise exists, and what exists is in the documents."""

import re
from pathlib import Path

import pytest

from service.app import create_app
from service.engine import Engine
from service.errors import ConfigurationError, error_types
from service.reference.pages import PAGES
from service.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OTHER_PAGES = [ROOT / "models" / "README.md", ROOT / "clients" / "python" / "README.md"]
ENDPOINTS = (ROOT / "docs" / "endpoints.md").read_text()


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_every_error_says_when_it_is_sent() -> None:
    for kind in error_types():
        assert issubclass(kind, ConfigurationError) or kind.__doc__, kind.__name__


def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path)
    paths = set(create_app(Engine(settings), settings).fastapi.openapi()["paths"])
    documented = set(re.findall(r"`(?:GET|POST|PUT|DELETE) (/[^`?]*)`", ENDPOINTS))
    assert paths <= documented
    assert documented - paths == {"/", "/docs", "/docs/guide/", "/openapi.json"}


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_of_reference_are_made_from_the_code(page: str) -> None:
    written = (ROOT / "docs" / f"{page}.md").read_text()
    assert written.rstrip() == PAGES[page]().rstrip(), "make reference writes it anew"


def test_ci_and_readme_name_the_same_test_command() -> None:
    assert "    make test " in README
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("\nmake test")


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *OTHER_PAGES]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
