"""The way of an image: decoded and fitted, run in a batch, read by a head."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine import Engine, open_engine
from service.errors import (
    BrokenImageError,
    MalformedBase64Error,
    TooManyPixelsError,
    UnsupportedImageError,
)
from service.heads.outputs import Outputs
from service.imaging.source_image import SourceImage
from service.pipeline import EncodedImage
from service.runtime.job import JobResult
from service.settings import Settings
from tests.images import photograph, plain
from tests.servables import SIDE, write_servable

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    root: Path = tmp_path_factory.mktemp("models")
    write_servable(root)
    async with open_engine(Settings(models=root, threads=1)) as opened:
        yield opened


def read(outputs: Outputs, source: SourceImage) -> Any:
    return outputs, source.geometry


async def predict(engine: Engine, *images: EncodedImage) -> list[Any]:
    (model,) = engine.registry.models
    return await engine.pipeline.predict(model, images, read, timeout_seconds=10)


async def test_a_head_gets_one_images_outputs_and_where_the_frame_lay(engine: Engine) -> None:
    (outcome,) = await predict(engine, plain("#ff8000", (40, 20)))
    outputs, geometry = outcome.value
    assert outputs["features"].tolist() == [255, 128, 0]
    assert (geometry.width, geometry.height) == (40, 20)


async def test_each_image_has_its_own_outcome_in_order(engine: Engine) -> None:
    missing = MalformedBase64Error("no base64")
    outcomes = await predict(
        engine, plain("red"), b"text", missing, photograph("chelsea")[:2000], plain("lime")
    )
    assert isinstance(outcomes[1], UnsupportedImageError)
    assert outcomes[2] is missing
    assert isinstance(outcomes[3], BrokenImageError)
    found = [one.value[0]["features"].tolist() for one in outcomes if isinstance(one, JobResult)]
    assert found == [[255, 0, 0], [0, 255, 0]]


async def test_a_job_makes_the_frame_that_the_card_wants(engine: Engine) -> None:
    (model,) = engine.registry.models
    job = engine.pipeline.job(plain("gray", (30, 10)), model.card, read)
    frame, source = job.prepare()
    assert frame.shape == (SIDE, SIDE, 3)
    assert frame.dtype == np.uint8
    assert source.displayed().size == (30, 10)


async def test_a_very_large_image_is_answered_like_any_other(engine: Engine) -> None:
    large = plain("#ff8000", (4001, 4000))
    first, broken, second = await predict(engine, plain("red"), large[:-200], large)
    assert first.value[0]["features"].tolist() == [255, 0, 0]
    assert isinstance(broken, BrokenImageError)
    assert second.value[0]["features"].tolist() == [255, 128, 0]
    assert (second.value[1].width, second.value[1].height) == (4001, 4000)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
async def test_all_images_together_have_the_pixels_that_are_allowed_and_not_one_more(
    repository: Path, form: str
) -> None:
    settings = Settings(models=repository, threads=1, max_request_pixels=800)
    first, second = plain("red", (20, 20), form), plain("lime", (20, 20), form)
    async with open_engine(settings) as small:
        outcomes = await predict(small, first, second)
        assert all(isinstance(one, JobResult) for one in outcomes)
        with pytest.raises(TooManyPixelsError, match=r"2 images .* more than the 0.0008 million"):
            await predict(small, first, plain("lime", (401, 1), form))
        (alone,) = await predict(small, plain("red", (801, 1), form))
        assert isinstance(alone, TooManyPixelsError)
