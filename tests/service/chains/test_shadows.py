"""The steps of chains have shadows: they run the same images and crops, and their agreement is counted."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from service.chains.samples import Samples
from service.chains.step_call import StepCall
from service.engine import Engine, open_engine
from service.errors import BrokenImageError, FovealError
from service.media_types import JPEG
from service.runtime.job import JobResult
from service.settings import Settings
from service.shadows import MOST_IMAGES
from service.video.options import SamplingOptions
from tests.samples import shadowed
from tests.servables import color_card, color_model, swapped_colors, write_servable
from tests.service.chains.spots import CHAIN, tasks_with, write_chain

pytestmark = pytest.mark.anyio
SIDE = 20
COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255)}
PART = MOST_IMAGES // 2
"""Both steps run the same model, so that both have a shadow."""


def row(*names: str) -> Image.Image:
    squares = [np.full((SIDE, SIDE, 3), COLORS[name], np.uint8) for name in names]
    return Image.fromarray(np.concatenate(squares, 1))


def mosaic(*names: str) -> bytes:
    stream = BytesIO()
    row(*names).save(stream, "PNG")
    return stream.getvalue()


def squares(width: int, _: int) -> list[tuple[float, float, float, float]]:
    return [(float(left), 0.0, float(left + SIDE), float(SIDE)) for left in range(0, width, SIDE)]


@asynccontextmanager
async def served(
    root: Path, *, chain: str = CHAIN, swapped: bool = False, side: int = 8
) -> AsyncIterator[Engine]:
    """Give an engine whose `colors` is answered by version 1, and shadowed by version 2."""
    write_chain(root, chain)
    model = swapped_colors() if swapped else color_model(side)
    write_servable(root, version=2, model=model, card=color_card(side))
    (root / "foveal.toml").write_text("[models.colors]\nweights = {1 = 100}\nshadow = 2\n")
    async with open_engine(Settings(models=root, threads=1), tasks=tasks_with(squares)) as engine:
        yield engine


async def read(engine: Engine, *images: bytes) -> list[Any]:
    return await engine.read(images, "spots-chain", timeout_seconds=30)


async def counted(engine: Engine, images: int) -> Mapping[str, float]:
    """Return what was counted once it is so many images; the test's time limit ends what never is."""
    while sum((found := shadowed(engine.metrics.registry)).values()) < images:
        await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize(("swapped", "outcome"), [(False, "agreed"), (True, "differed")])
async def test_the_image_and_its_crops_run_on_the_shadow_and_are_compared(
    tmp_path: Path, *, swapped: bool, outcome: str
) -> None:
    async with served(tmp_path, swapped=swapped) as engine:
        (result,) = await read(engine, mosaic("red", "red", "blue"))
        assert await counted(engine, 4) == {outcome: 4}
        answers = [box["answers"]["read"]["result"]["predictions"][0] for box in result["boxes"]]
        assert [one["label"] for one in answers] == ["red", "red", "blue"], "version 1 answers"
        assert {one["version"] for one in engine.chains.call("spots-chain").steps} == {1}


async def test_each_step_has_its_part_of_what_shadows_run_and_the_rest_is_dropped(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as engine:
        await read(engine, mosaic(*["red"] * (PART + 3)))
        assert await counted(engine, 1 + PART + 3) == {"agreed": 1 + PART, "dropped": 3}


async def test_a_step_inside_a_crop_has_a_shadow_too(tmp_path: Path) -> None:
    nested = CHAIN.replace('"read"\ntask = "classify"', '"again"\ntask = "spots"')
    nested += '[[steps]]\nname = "read"\ntask = "classify"\nmodel = "colors"\n'
    async with served(tmp_path, chain=nested) as engine:
        await read(engine, mosaic("red", "blue"))
        assert await counted(engine, 1 + 2 + 2) == {"agreed": 5}


async def test_a_chain_that_is_drawn_has_shadows_too(tmp_path: Path) -> None:
    async with served(tmp_path) as engine:
        call = engine.chains.call("spots-chain")
        await call.render(mosaic("red", "blue"), timeout_seconds=30, media_type=JPEG)
        assert await counted(engine, 3) == {"agreed": 3}


async def test_a_step_that_names_its_version_has_no_shadow(tmp_path: Path) -> None:
    pinned = CHAIN.replace('model = "colors"\nmax', 'model = "colors"\nversion = 1\nmax')
    async with served(tmp_path, chain=pinned) as engine:
        await read(engine, mosaic("red", "blue"))
        assert await counted(engine, 1) == {"agreed": 1}
        await read(engine, mosaic("red"))
        assert await counted(engine, 2) == {"agreed": 2}, "of each request the first step alone"


async def test_images_that_failed_are_not_run(tmp_path: Path) -> None:
    async with served(tmp_path) as engine:
        good = mosaic("red")
        broken, _ = await read(engine, good[: len(good) // 2], good)
        assert isinstance(broken, BrokenImageError)
        assert await counted(engine, 2) == {"agreed": 2}


async def test_a_shadow_with_another_input_is_a_failure_and_the_answer_is_there(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, side=16) as engine:
        (result,) = await read(engine, mosaic("red", "blue"))
        assert result["found"] == 2
        assert await counted(engine, 3) == {"failed": 3}


async def test_frames_of_videos_have_no_shadow(tmp_path: Path) -> None:
    stream = BytesIO()
    frames = [row("red", "blue"), row("blue", "red")]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=500)
    stream.seek(0)
    async with served(tmp_path) as engine:
        run = engine.dispatch.chain_run(SamplingOptions(), name="spots-chain", timeout_seconds=30)
        events = [one async for one in engine.videos.run(run, stream, stop_reading=lambda: None)]
        assert len(events) > 2
        await read(engine, mosaic("red"))
        assert await counted(engine, 2) == {"agreed": 2}, "of the image alone"


# Under load.


class Offered:
    """In the place of the shadows: notes what they are offered."""

    def __init__(self) -> None:
        self.busy: list[bool] = []
        self.images: list[int] = []

    def offer_inputs(self, *given: Any, busy: bool, **_: Any) -> None:
        self.busy.append(busy)
        self.images.append(len(given[3]))

    def drop(self, *_: object) -> None:
        raise AssertionError


class Queue:
    def __init__(self, depth: int) -> None:
        self.depth = depth


@pytest.mark.parametrize(
    ("queue", "busy"), [(Queue(0), False), (Queue(1), True), (None, True)], ids=["", "full", "gone"]
)
async def test_where_others_wait_for_the_model_that_answered_the_shadow_is_dropped(
    tmp_path: Path, queue: Queue | None, *, busy: bool
) -> None:
    async with served(tmp_path) as engine:
        call = engine.chains.call("spots-chain")
        idle = call.first.model.queue
        images = [mosaic("red")]
        outcomes: Sequence[JobResult[Any] | FovealError] = [BrokenImageError("cut short")]
        call.first.model.queue = cast("Any", queue)
        offered = Offered()
        try:
            Samples(call.first).offer(cast("Any", offered), images, outcomes)
        finally:
            call.first.model.queue = idle
        assert (offered.busy, offered.images) == ([busy] * 2, [1, 0])


async def test_a_step_without_a_shadow_keeps_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as engine:
        first = engine.chains.call("spots-chain").first
        alone: StepCall = replace(first, shadow=None)
        samples = Samples(alone)
        assert samples.of(alone) is None
        (follower,) = first.followers
        assert sum(samples.of(follower) is not None for _ in range(20)) == MOST_IMAGES
