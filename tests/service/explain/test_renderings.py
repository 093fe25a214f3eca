"""Every view in every form, for images of every size and form: an answer, of bounded size, in bounded memory."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidParameterError
from service.explain.views import VIEWS
from service.imaging.overlay import RenderedImage
from tests.images import encode
from tests.live import MODELS
from tests.service.explain.running import Bench, running

pytestmark = pytest.mark.anyio

SMALL = [(1, 1), (2, 2), (3, 2), (7, 9), (16, 16), (28, 28), (64, 64), (70, 70), (1, 70), (70, 1)]
LONG = [(1, 1000), (1000, 1), (1, 10_000), (10_000, 1), (3, 4000), (65_535, 2), (2, 65_535)]
MOST_PIXELS = 1240 * 4000
"""Of a sheet. The highest, that of a story, has a row for each of five stages."""
MOST_ARRAY_BYTES = 4 * 3 * 300 * 300 + 128
"""Of the largest frame here, as float32, with the header of the file."""
FEW: dict[str, Any] = {"samples": 4, "steps": 4}
TINY = ["tiny-classify", "tiny-segment", "tiny-detect", "tiny-embed"]
REAL = ["lenet5", "glance", "unet-digits", "efficientnet-lite0", "ssdlite-mobilenet-v2"]


def spotted(size: tuple[int, int]) -> bytes:
    """Return noise that is bright on one side, where the tiny networks find a thing."""
    pixels = np.random.default_rng(1).integers(0, 90, (size[1], size[0], 3), np.uint8)
    pixels[size[1] // 2 :, size[0] // 2 :] = 250
    return encode(Image.fromarray(pixels))


def queries(view: str) -> dict[str, Any]:
    few = {name: value for name, value in FEW.items() if name in VIEWS[view].options}
    return {"view": view, **few}


async def draw_everything(bench: Bench, model: str, size: tuple[int, int]) -> None:
    image = spotted(size)
    for view in VIEWS:
        for form in sorted(VIEWS[view].forms):
            one = {"stage": "stage_1", "channel": 0} if form in {"overlay", "heat"} else {}
            query = queries(view) | (one if view == "maps" else {})
            try:
                result = await bench.explain(model, image, form=form, **query)
            except InvalidParameterError:
                continue  # a probe of what is no classifier, and an image in which nothing is found
            if form == "json":
                assert not isinstance(result, RenderedImage)
                continue
            if form == "npy":
                assert len(result.content) <= MOST_ARRAY_BYTES, (view, form)
                continue
            width, height = Image.open(BytesIO(result.content)).size
            if form == "sheet":
                assert width == 1240, (view, form)
                assert width * height <= MOST_PIXELS, (view, form)
            else:
                assert (width, height) == size, (view, form)


@pytest.mark.parametrize("size", SMALL + LONG)
@pytest.mark.parametrize("model", TINY)
async def test_every_rendering_of_a_tiny_network_has_a_bounded_size(
    tiny_models: Bench, model: str, size: tuple[int, int]
) -> None:
    await draw_everything(tiny_models, model, size)


@pytest.mark.parametrize("side", range(1, 71))
async def test_patterns_are_drawn_for_images_of_every_small_size(
    tiny_models: Bench, side: int
) -> None:
    for size in [(side, side), (side, 71 - side), (side, 1)]:
        for form in ("json", "sheet"):
            await tiny_models.explain("tiny-classify", spotted(size), form=form, view="patterns")


@pytest.fixture(scope="module")
async def real_models() -> AsyncIterator[Bench]:
    async with running(MODELS, explainers=8) as bench:
        yield bench


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("model", REAL)
async def test_every_rendering_of_a_real_network_has_a_bounded_size(
    real_models: Bench, model: str
) -> None:
    for size in [(64, 64), (1, 1000), (10_000, 1)]:
        await draw_everything(real_models, model, size)


MEASURED = """
import asyncio, resource, sys
from pathlib import Path
from tests.service.explain.running import running
from tests.service.explain.networks import write_tiny
from tests.service.explain.test_renderings import FEW, spotted

async def main():
    root = Path(sys.argv[1])
    write_tiny(root)
    views = ["story", "maps", "patterns", "cam", "probe"]
    async with running(root, explainers=4) as bench:
        async def draw(size):
            for view in views:
                few = FEW if view == "cam" else {}
                await bench.explain("tiny-classify", spotted(size), form="sheet", view=view, **few)
            for form in ("overlay", "heat"):
                await bench.explain("tiny-classify", spotted(size), form=form, view="cam", **FEW)
        await draw((64, 64))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for size in [(1, 1000), (1, 10_000), (10_000, 1), (1, 1_000_000), (1_000_000, 1)]:
            await draw(size)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

asyncio.run(main())
"""


@pytest.mark.timeout(120)
def test_a_long_image_needs_little_memory(tmp_path: Path) -> None:
    """The filters of Pillow for a side of a million pixels need 50 MB; a sheet of its own form would need terabytes."""
    root = Path(__file__).parents[3]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    grown_mib = int(measured.stdout.splitlines()[-1])
    assert grown_mib < 400, measured.stdout
