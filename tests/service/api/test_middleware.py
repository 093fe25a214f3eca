"""The last net: a fault that nobody caught is a problem for the client and a traceback in the log."""

import logging
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.live import problem

pytestmark = pytest.mark.anyio


async def test_an_uncaught_fault_is_a_500_with_the_id_that_leads_to_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> None:
        raise ZeroDivisionError("a secret of ours")

    settings = Settings(models=tmp_path)
    app = create_app(Engine(settings), settings)
    app.fastapi.add_api_route("/fault", fault)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as http:
        with caplog.at_level(logging.ERROR, "foveal.request"):
            response = await http.get("/fault")
    assert "secret" not in problem(response, 500, "internal_error")
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.exc_info is not None
    sample = app.services.metrics.registry.get_sample_value
    labels = {"route": "/fault", "model": "", "status": "500"}
    assert sample("foveal_requests_total", labels) == 1
    assert sample("foveal_requests_in_flight") == 0
