from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.keys import write_keys
from tests.live import Live, serve
from tests.servables import write_servable


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """The service with the models that come with the project."""
    with serve() as service:
        yield service


@pytest.fixture(scope="session")
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=60) as http:
        yield http


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service of one tiny model, with small limits."""
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    limits: dict[str, Any] = {"max_body_bytes": 100_000, "max_pixels": 1_000_000, "max_images": 4}
    with serve(models=root, **limits) as service, httpx.Client(base_url=service.url) as http:
        yield http


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository of one tiny model."""
    root = tmp_path / "models"
    write_servable(root)
    return root


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file of keys, those of `tests.keys.KEYS`."""
    return write_keys(tmp_path / "keys.toml")
