from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.finders import write_detector, write_segmenter
from tests.live import Live, serve
from tests.servables import write_servable


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a tiny network for each of three tasks: `colors`, `finder` and `painter`."""
    root = tmp_path_factory.mktemp("zoo")
    write_servable(root)
    write_detector(root)
    write_segmenter(root)
    return root


@pytest.fixture(scope="session")
def spoken(zoo: Path) -> Iterator[Live]:
    """The service of these networks, for the protocols of other programs."""
    with serve(models=zoo, max_images=4, max_request_pixels=10_000_000) as service:
        yield service


@pytest.fixture(scope="session")
def http(spoken: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=spoken.url) as client:
        yield client
