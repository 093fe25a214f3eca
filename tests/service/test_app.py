"""The app: the engine's life, and the routes of its tasks."""

from pathlib import Path

import pytest

from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from service.tasks.tasks import TASKS
from tests.service.tasks.mean_color import MEAN_COLOR

pytestmark = pytest.mark.anyio


def test_every_task_for_images_has_a_route_and_no_other(repository: Path) -> None:
    settings = Settings(models=repository)
    tasks = {"classify": TASKS["classify"], "temporal": TASKS["temporal"], "mean_color": MEAN_COLOR}
    document = create_app(Engine(settings, tasks=tasks), settings).fastapi.openapi()
    posts = {path for path, one in document["paths"].items() if "post" in one}
    posts.discard("/v1/admin/reload")
    fan_outs = {"/v1/video", "/v1/chain", "/v1/explain"}
    assert posts == {"/v1/classify", "/v1/mean_color", *fan_outs}
    task = next(
        one for one in document["paths"]["/v1/video"]["post"]["parameters"] if one["name"] == "task"
    )
    assert task["schema"]["enum"] == ["classify", "temporal", "mean_color", "chain"]


async def test_the_engine_runs_as_long_as_the_apps_lifespan(repository: Path) -> None:
    settings = Settings(models=repository, threads=1)
    engine = Engine(settings)
    app = create_app(engine, settings)
    async with app.fastapi.router.lifespan_context(app.fastapi):
        await engine.loaded.wait()
        assert engine.not_ready() == []
        (model,) = engine.registry.models
    assert model.queue is not None
    with pytest.raises(Exception, match="shutting down"):
        await engine.predict("classify", [b"an image"])


async def test_limits_come_from_the_settings(repository: Path) -> None:
    settings = Settings(models=repository, threads=3, max_images=5, timeout_ms=1500)
    services = create_app(Engine(settings), settings).services
    assert (services.max_images, services.timeout_seconds) == (5, 1.5)
    assert services.engine.threads == 3
