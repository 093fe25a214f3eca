from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from service.card import Card, Stage
from service.engine import Engine, open_engine
from service.errors import InvalidParameterError
from service.explain.options import ExplainOptions
from service.heads.outputs import Outputs
from service.imaging.overlay import RenderedImage
from service.imaging.source_image import SourceImage
from service.runtime.job import JobResult
from service.settings import Settings
from service.tasks.task import drawn
from service.tasks.tasks import TASKS
from tests.images import photograph, plain
from tests.servables import color_card, write_servable
from tests.service.tasks.mean_color import MEAN_COLOR, MeanColorOptions

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    card = color_card().model_copy(update={"task": "mean_color", "labels": ()})
    write_servable(root, "mean", card=card)
    tasks = {**TASKS, "mean_color": MEAN_COLOR}
    async with open_engine(Settings(models=root, threads=1), tasks=tasks) as opened:
        yield opened


async def test_a_call_returns_results_or_renderings(engine: Engine) -> None:
    options = MeanColorOptions(scale="unit")
    plainly = engine.dispatch.call(MEAN_COLOR, options)
    (result,) = await plainly.run([plain("red")], timeout_seconds=10)
    assert isinstance(result, JobResult)
    assert result.value == {"color": [1, 0, 0]}
    drawn = engine.dispatch.call(MEAN_COLOR, options, rendering="swatch")
    (rendered,) = await drawn.run([plain("red")], timeout_seconds=10)
    assert isinstance(rendered, JobResult)
    assert isinstance(rendered.value, RenderedImage)
    assert rendered.value.media_type == "image/png"


@pytest.mark.parametrize("response_cache_bytes", [0, 10**6])
async def test_a_rendering_of_a_small_image_does_not_decode_it_again(
    tmp_path: Path, response_cache_bytes: int
) -> None:
    seen: list[Image.Image | None] = []

    def see(
        outputs: Outputs, source: SourceImage, card: Card, options: MeanColorOptions
    ) -> Image.Image:
        assert (len(outputs["features"]), card.task, options.scale) == (3, "mean_color", "byte")
        seen.append(source.pixels)
        return source.drawable()

    rendering = drawn("the image", see)
    uncolored = drawn("the image in gray", see, has_colors=False)
    task = replace(MEAN_COLOR, renderings={"swatch": rendering, "gray": uncolored})
    card = color_card().model_copy(update={"task": "mean_color", "labels": ()})
    write_servable(tmp_path, "mean", card=card)
    settings = Settings(models=tmp_path, threads=1, response_cache_bytes=response_cache_bytes)
    async with open_engine(settings, tasks={**TASKS, "mean_color": task}) as engine:
        for name in ("swatch", "gray"):
            call = engine.dispatch.call(task, MeanColorOptions(), rendering=name)
            (outcome,) = await call.run([plain("red", (40, 20))], timeout_seconds=10)
            assert isinstance(outcome, JobResult)

    kept, none = seen
    assert kept is not None
    assert kept.size == (40, 20)
    assert none is None


async def test_a_call_has_its_model_before_any_image_is_there(engine: Engine) -> None:
    assert engine.dispatch.call(MEAN_COLOR, MeanColorOptions()).model.name == "mean"
    call = engine.dispatch.explain_call(ExplainOptions(view="filters"), "json", model="colors")
    assert (call.model.name, call.needs_image) == ("colors", False)


async def test_a_view_of_an_image_needs_one(engine: Engine) -> None:
    call = engine.dispatch.explain_call(ExplainOptions(view="occlusion", samples=4), "json")
    assert call.needs_image
    with pytest.raises(InvalidParameterError, match="view: occlusion needs an image"):
        await call.run(None, timeout_seconds=10)
    result = await call.run(photograph("chelsea"), timeout_seconds=10)
    assert not isinstance(result.value, RenderedImage)
    assert result.value["view"] == "occlusion"


@pytest.mark.parametrize(
    ("options", "runs_copies"),
    [
        (ExplainOptions(view="rise"), True),
        (ExplainOptions(view="occlusion"), True),
        (ExplainOptions(view="cam", method="rise"), True),
        (ExplainOptions(view="cam", steps=4), True),
        (ExplainOptions(view="cam"), False),
        (ExplainOptions(view="filters"), False),
        (ExplainOptions(view="probe"), False),
    ],
)
async def test_a_late_heat_of_copies_advises_one_without_them(
    tmp_path: Path, options: ExplainOptions, *, runs_copies: bool
) -> None:
    stage = Stage(name="stage_1", tensor="features", channels=3, stride=1)
    write_servable(tmp_path, card=color_card().model_copy(update={"stages": (stage,)}))
    async with open_engine(Settings(models=tmp_path, threads=1)) as engine:
        message = str(engine.dispatch.explain_call(options, "json").late(2))
    assert ("view=cam&method=eigencam" in message) == runs_copies
    assert "within 2000 ms" in message
