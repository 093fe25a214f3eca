"""Where videos have been lent memory, what waits for it keeps no thread on which their frames, and others, run."""

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from service.imaging.room import PixelRoom
from tests.images import encode, plain
from tests.service.explain.networks import write_tiny
from tests.service.explain.running import Bench, running

pytestmark = pytest.mark.anyio

MODEL, ROOM = "tiny-classify", 3_800_000


async def small(bench: Bench) -> None:
    """Classify a small image; there is one thread for it."""
    model = bench.engine.registry.find(("classify",), MODEL, None)
    async with asyncio.timeout(30):
        (outcome,) = await bench.engine.pipeline.predict(
            model, [plain("red", (20, 20))], lambda outputs, _: outputs, timeout_seconds=20
        )
    assert not isinstance(outcome, Exception), outcome


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("view", [None, "maps"])
async def test_a_large_image_waits_beside_the_thread_that_runs_others(
    tmp_path: Path, kind: str, view: str | None
) -> None:
    write_tiny(tmp_path)
    large = encode(Image.new("RGB", (2300, 1500), "blue"), kind)
    async with running(tmp_path) as bench:
        room: PixelRoom = bench.engine.pipeline.room
        room.fit(ROOM, ROOM)
        room.lend(ROOM // 2)
        model = bench.engine.registry.find(("classify",), MODEL, None)

        async def wanted() -> object:
            if view is not None:
                return await bench.explain(MODEL, large, view=view)
            (outcome,) = await bench.engine.pipeline.predict(
                model, [large], lambda outputs, _: outputs, timeout_seconds=60
            )
            return outcome

        waits = asyncio.create_task(wanted())
        async with asyncio.timeout(30):
            while not room.waiting:
                await asyncio.sleep(0.01)
        await small(bench)
        assert not waits.done()
        room.lend(0)
        assert not isinstance(await waits, Exception)
        await small(bench)
