from collections.abc import AsyncIterator

import pytest

from tests.service.explain.networks import write_tiny
from tests.service.explain.running import Bench, running


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
async def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A tiny network for each task; one request at a time may run perturbed copies."""
    root = tmp_path_factory.mktemp("models")
    write_tiny(root)
    async with running(root, max_fan_outs=1, explainers=4) as bench:
        yield bench
