"""What all tests share: asyncio, and a repository of one tiny model."""

from pathlib import Path

import pytest

from tests.servables import write_servable


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with one servable, `colors`."""
    root = tmp_path / "models"
    write_servable(root)
    return root
