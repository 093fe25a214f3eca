"""Chains on an engine: find, crop, read."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.chains.call import HELD_SHARE
from service.engine import Engine, open_engine
from service.errors import (
    BrokenImageError,
    ConfigurationError,
    DeadlineError,
    NoDefaultModelError,
    NotReadyError,
    OverloadedError,
    RefusedModelError,
    UnavailableError,
    UnknownModelError,
    UnsupportedImageError,
)
from service.imaging.ahead import DecodingAhead
from service.imaging.room import (
    BYTES_PER_PIXEL,
    KEPT_BYTES_PER_PIXEL,
    TIGHT_BYTES_PER_PIXEL,
    PixelRoom,
)
from service.imaging.source_image import SourceImage
from service.pipeline import Pipeline
from service.runtime.change import Change
from service.runtime.job import Job, JobResult
from service.settings import Settings
from tests.full_table import no_free_descriptor
from tests.images import plain
from tests.service.chains.spots import CHAIN, tasks_with, write_chain

pytestmark = pytest.mark.anyio

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SIDE = 20


def mosaic(names: list[str]) -> bytes:
    """Return a PNG of squares in a row."""
    row = np.concatenate([np.full((SIDE, SIDE, 3), COLORS[name], np.uint8) for name in names], 1)
    stream = BytesIO()
    Image.fromarray(row).save(stream, "PNG")
    return stream.getvalue()


def find(width: int, height: int) -> list[tuple[float, float, float, float]]:
    """Two boxes too many, half outside and far outside; none in a small image, a thousand in a high one."""
    if height > SIDE:
        return [(float(index % width), 0.0, index % width + 0.3, 0.3) for index in range(1000)]
    return [
        (float(left), 0.0, float(left + SIDE), float(SIDE)) for left in range(0, width - 1, SIDE)
    ]


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    root = write_chain(tmp_path_factory.mktemp("models"))
    nested = CHAIN.replace('"read"\ntask = "classify"', '"again"\ntask = "spots"') + (
        'margin = 0.5\n[[steps]]\nname = "read"\ntask = "classify"\nmodel = "colors"\n'
    )
    write_chain(root, nested, "nested")
    write_chain(root, CHAIN.replace('model = "colors"\nmax', 'model = "gone"\nmax'), "missing")
    write_chain(
        root,
        CHAIN.replace('model = "colors"\nmax', 'model = "colors"\noptions = {top_k = 9}\nmax'),
        "many",
    )
    async with open_engine(Settings(models=root, threads=2), tasks=tasks_with(find)) as opened:
        yield opened


async def read(engine: Engine, *images: bytes, chain: str = "spots-chain") -> list[Any]:
    return await engine.read(images, chain, timeout_seconds=30)


def labels(result: Any) -> list[str]:
    return [box["answers"]["read"]["result"]["predictions"][0]["label"] for box in result["boxes"]]


async def test_each_box_is_read_and_the_answers_are_in_order(engine: Engine) -> None:
    names = ["red", "blue", "green", "green", "red", "blue", "blue", "red", "green", "red"] * 2
    first, second = await read(engine, mosaic(names), mosaic(names[::-1]))
    assert labels(first) == names
    assert labels(second) == names[::-1]
    assert (first["width"], first["height"], first["found"]) == (400, 20, 20)
    assert first["boxes"][3]["box"] == {"x_min": 60, "y_min": 0, "x_max": 80, "y_max": 20}
    assert first["boxes"][3]["answers"]["read"]["crop"] == first["boxes"][3]["box"]


async def test_crops_of_one_image_share_batches(engine: Engine) -> None:
    call = engine.chains.call("spots-chain")
    (outcome,) = await call.run([mosaic(["red"] * 30)], timeout_seconds=30)
    assert not isinstance(outcome, Exception)
    assert outcome.trace.batch_size > 1


async def test_answers_nest_and_all_boxes_are_in_pixels_of_the_image(engine: Engine) -> None:
    (result,) = await read(engine, mosaic(["red", "blue", "green"]), chain="nested")
    middle = result["boxes"][1]["answers"]["again"]
    assert middle["crop"] == {"x_min": 10, "y_min": 0, "x_max": 50, "y_max": 20}
    inner = middle["result"]
    assert inner["found"] == 2
    assert [one["box"]["x_min"] for one in inner["boxes"]] == [10, 30]
    crops = [one["answers"]["read"]["crop"] for one in inner["boxes"]]
    assert [one["x_max"] - one["x_min"] for one in crops] == [20, 20]
    # The first half of the first box is red, its second half blue; the margin shifts the frame.
    assert labels(inner)[1] in {"blue", "green"}


async def test_the_models_of_a_chain_alternate_and_no_others(engine: Engine) -> None:
    assert engine.chains.alternate("gone", "colors")
    assert engine.chains.alternate("colors", "gone")
    assert not engine.chains.alternate("other", "colors")


async def test_no_box_no_crop_and_a_thousand_boxes_are_bounded(engine: Engine) -> None:
    none, many = await read(engine, plain("red", (1, 1)), plain("lime", (50, 40)))
    assert (none["found"], none["boxes"]) == (0, [])
    assert many["found"] == len(many["boxes"]) == 1000
    answered = [box["answers"]["read"]["result"] for box in many["boxes"] if box["answers"]]
    assert len(answered) == 40
    assert all(one["predictions"][0]["label"] == "green" for one in answered)


async def test_an_image_that_is_none_fails_alone(engine: Engine) -> None:
    red = mosaic(["red"])
    first, second, third = await read(engine, b"text", red, red[: len(red) // 2])
    assert isinstance(first, UnsupportedImageError)
    assert labels(second) == ["red"]
    assert isinstance(third, BrokenImageError)


async def test_a_chain_that_is_not_there_or_can_not_run_says_why(engine: Engine) -> None:
    with pytest.raises(
        UnknownModelError,
        match=r"There is no chain 'x'\. Chains: many, missing, nested, spots-chain",
    ):
        await read(engine, mosaic(["red"]), chain="x")
    with pytest.raises(
        NotReadyError,
        match=r"step read of the chain missing can not run\. There is no model 'gone'",
    ):
        await read(engine, mosaic(["red"]), chain="missing")
    with pytest.raises(
        NotReadyError, match=r"step read of the chain many can not run\. top_k: colors has 1 to 3"
    ):
        await read(engine, mosaic(["red"]), chain="many")
    states = {one.chain.name: one.reason for one in engine.chains.served()}
    assert states["spots-chain"] == states["nested"] == ""
    assert "There is no model 'gone'" in states["missing"]
    assert engine.not_ready() == []  # a chain keeps no model from being served


async def test_the_deadline_holds_and_places_are_given_back(engine: Engine) -> None:
    for _ in range(6):
        with pytest.raises(DeadlineError):
            await engine.read([mosaic(["red"] * 9)], "spots-chain", timeout_seconds=0.0)
    assert labels((await read(engine, mosaic(["red"])))[0]) == ["red"]


async def test_a_chain_has_one_of_the_places_of_fan_outs(tmp_path: Path) -> None:
    settings = Settings(models=write_chain(tmp_path), threads=1, max_fan_outs=1)
    async with open_engine(settings, tasks=tasks_with(find)) as engine:
        with engine.videos.fan_out.admit(), pytest.raises(OverloadedError, match=r"or chains"):
            await read(engine, mosaic(["red"]))


def whole(width: int, height: int) -> list[tuple[float, float, float, float]]:
    return [(0.0, 0.0, float(width), float(height))] * 3


def codes(result: Any) -> list[str]:
    answers = [box["answers"]["read"] for box in result["boxes"]]
    return [one.get("error", {"code": "ok"})["code"] for one in answers]


async def test_crops_have_no_more_pixels_together_than_the_images_of_a_request(
    tmp_path: Path,
) -> None:
    settings = Settings(models=write_chain(tmp_path), threads=1, max_request_pixels=2400)
    image = mosaic(["red"] * 2)  # of 800 pixels, which three crops have each
    async with open_engine(settings, tasks=tasks_with(whole)) as engine:
        (alone,) = await read(engine, image)
        assert codes(alone) == ["ok"] * 3, "these are all that are allowed"
        first, second = await read(engine, image, mosaic(["blue"]))
        assert codes(first) == ["ok"] * 3
        assert codes(second) == ["too_many_pixels"] * 3
        error = second["boxes"][0]["answers"]["read"]["error"]
        assert "more than the 0.0024 million pixels" in error["detail"]


async def test_a_crop_has_no_more_pixels_than_an_image_may_have(tmp_path: Path) -> None:
    square = write_chain(tmp_path, f"{CHAIN}square = true\nmargin = 0.5\n")
    (narrow, wide) = (mosaic(["red"]), mosaic(["red"] * 3))
    for most, expected in ((1600, "ok"), (1599, "too_many_pixels")):
        settings = Settings(models=square, threads=1, max_pixels=most)
        async with open_engine(settings, tasks=tasks_with(find)) as engine:
            (result,) = await read(engine, wide)
            assert codes(result)[1] == expected, "the second of three is padded to 40×40"
            assert codes((await read(engine, narrow))[0]) == [expected]


async def test_large_crops_are_made_beside_the_workers(tmp_path: Path) -> None:
    settings = Settings(models=write_chain(tmp_path), threads=1)
    async with open_engine(settings, tasks=tasks_with(whole)) as engine:
        (result,) = await read(engine, plain("red", (1200, 1000)))
        assert labels(result) == ["red"] * 3
        call = engine.chains.call("spots-chain")
        nowhere_else = replace(call.pipeline, ahead=DecodingAhead(threads=1, capacity=0))
        call = replace(call, pipeline=nowhere_else)
        with pytest.raises(OverloadedError, match="very large images"):
            await call.run([plain("red", (1200, 1000))], timeout_seconds=30)
        (small,) = await call.run([plain("red", (1000, 1000))], timeout_seconds=30)
        assert isinstance(small, JobResult)
        nowhere_else.ahead.close()


async def test_a_decoded_image_is_counted_until_its_crops_are_answered_and_chains_do_not_wait_for_each_other(
    tmp_path: Path,
) -> None:
    nested = CHAIN.replace('"read"\ntask = "classify"', '"again"\ntask = "spots"') + (
        '[[steps]]\nname = "read"\ntask = "classify"\nmodel = "colors"\n'
    )
    image, kept, opened = plain("red", (1200, 1000)), list[int](), list[Engine]()

    def note(width: int, height: int) -> list[tuple[float, float, float, float]]:
        kept.append(opened[0].pipeline.room.kept)
        return [(0.0, 0.0, float(width), float(height)), (0.0, 0.0, float(SIDE), float(SIDE))]

    settings = Settings(
        models=write_chain(tmp_path, nested),
        threads=2,
        max_decoding_pixels=1_200_001,
        max_fan_outs=8,
    )
    async with open_engine(settings, tasks=tasks_with(note)) as engine:
        opened.append(engine)
        room = engine.pipeline.room
        await read(engine, image)
        assert len(kept) == 3
        assert kept[0] == 0, "nothing is decoded as a whole before the first step"
        assert kept[1] == kept[2] == 1_200_000 * KEPT_BYTES_PER_PIXEL // BYTES_PER_PIXEL
        call = engine.chains.call("spots-chain")
        await call.render(image, timeout_seconds=30, media_type="image/jpeg")
        assert len(await asyncio.gather(*[read(engine, image) for _ in range(6)])) == 6
        assert (room.kept, room.in_work, room.waiting) == (0, 0, 0)
        leaving = asyncio.create_task(read(engine, image))
        while not room.kept:
            await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert room.kept == 0


async def test_a_model_that_is_removed_and_put_back(tmp_path: Path) -> None:
    root = write_chain(tmp_path)
    async with open_engine(Settings(models=root, threads=1), tasks=tasks_with(find)) as engine:
        assert labels((await read(engine, mosaic(["blue"])))[0]) == ["blue"]
        await engine.changes.change(Change(kind="unload_model", name="colors"))
        with pytest.raises(NotReadyError, match=r"can not run\. There is no model 'colors'"):
            await read(engine, mosaic(["blue"]))
        await engine.changes.change(Change(kind="load_model", name="colors"))
        assert labels((await read(engine, mosaic(["blue"])))[0]) == ["blue"]


async def test_the_default_chain_is_the_only_one_or_is_chosen(tmp_path: Path) -> None:
    root = write_chain(tmp_path, name="second")
    tasks = tasks_with(find)
    assert Engine(Settings(models=root), tasks=tasks).chains.call().chain.name == "second"
    write_chain(root, name="first")
    with pytest.raises(NoDefaultModelError, match=r"2 chains, .*: first, second\. Name one"):
        Engine(Settings(models=root), tasks=tasks).chains.call()
    (root / "foveal.toml").write_text('[defaults]\nchain = "first"')
    assert Engine(Settings(models=root), tasks=tasks).chains.call().chain.name == "first"
    chosen = Settings(models=root, defaults={"chain": "second"})
    assert Engine(chosen, tasks=tasks).chains.call().chain.name == "second"
    with pytest.raises(ConfigurationError, match=r"'third' for chain\. Chains: first, second"):
        Engine(Settings(models=root, defaults={"chain": "third"}), tasks=tasks)


async def test_a_reload_takes_another_default_chain_and_a_change_of_one_model_does_not(
    tmp_path: Path,
) -> None:
    root = write_chain(tmp_path, name="one")
    write_chain(root, name="two")
    (root / "foveal.toml").write_text('[defaults]\nchain = "one"')
    async with open_engine(Settings(models=root, threads=1), tasks=tasks_with(find)) as engine:
        (root / "foveal.toml").write_text('[defaults]\nchain = "two"')
        await engine.changes.change(Change(kind="load_model", name="colors"))
        assert engine.chains.call().chain.name == "one"
        await engine.changes.change(Change(kind="reload"))
        assert engine.chains.call().chain.name == "two"
        (root / "foveal.toml").write_text('[defaults]\nchain = "three"')
        with pytest.raises(RefusedModelError, match=r"'three' for chain\. Chains: one, two"):
            await engine.changes.change(Change(kind="reload"))
        assert engine.chains.call().chain.name == "two"


async def test_a_reload_takes_new_chains_and_keeps_those_whose_file_broke(tmp_path: Path) -> None:
    root = write_chain(tmp_path, name="one")
    async with open_engine(Settings(models=root, threads=1), tasks=tasks_with(find)) as engine:
        write_chain(root, name="two")
        (root / "one/chain.toml").write_text("[[steps]]")
        await engine.changes.change(Change(kind="reload"))
        for name in ("one", "two"):
            assert labels((await read(engine, mosaic(["blue"]), chain=name))[0]) == ["blue"]
        assert engine.not_ready() == []
        (root / "one/chain.toml").unlink()
        await engine.changes.change(Change(kind="reload"))
        assert engine.chains.names == ("two",)
        assert engine.chains.call().chain.name == "two"


async def test_a_reload_while_no_file_can_be_opened_changes_nothing(tmp_path: Path) -> None:
    root = write_chain(tmp_path, name="one")
    async with open_engine(Settings(models=root, threads=1), tasks=tasks_with(find)) as engine:
        served = [model.name for model in engine.registry.models]
        with no_free_descriptor():
            with pytest.raises(UnavailableError, match="Too many open files"):
                await engine.changes.change(Change(kind="reload"))
            engine.chains.reload(None)
        assert [model.name for model in engine.registry.models] == served
        assert labels((await read(engine, mosaic(["blue"]), chain="one"))[0]) == ["blue"]


async def test_a_chain_whose_folder_can_not_be_read_stays(tmp_path: Path) -> None:
    root = write_chain(tmp_path, name="one")
    async with open_engine(Settings(models=root, threads=1), tasks=tasks_with(find)) as engine:
        (root / "one").rename(root / ".away")
        (root / "one").symlink_to("one")
        await engine.changes.change(Change(kind="reload"))
        assert labels((await read(engine, mosaic(["blue"]), chain="one"))[0]) == ["blue"]
        (root / "one").unlink()
        await engine.changes.change(Change(kind="reload"))
        assert engine.chains.names == ()


async def test_a_file_that_is_no_chain_is_a_reason_not_to_be_ready(tmp_path: Path) -> None:
    root = write_chain(tmp_path, "[[steps]]")
    async with open_engine(Settings(models=root, threads=1)) as engine:
        (reason,) = engine.not_ready()
        assert "spots-chain" in reason
        assert str(tmp_path) not in reason
        with pytest.raises(UnknownModelError, match=r"There is no chain\. Chains: none"):
            await engine.read([mosaic(["red"])])


class CountingPipeline(Pipeline):
    """Counts the crops that were made and have no result yet."""

    crops = most_crops = 0

    def finishing(
        self, prepare: Callable[[], Any], head: Callable[[Any, Any], Any], until: float, **rest: Any
    ) -> Job[SourceImage, Any]:
        cls = type(self)
        cls.crops += 1
        cls.most_crops = max(cls.most_crops, cls.crops)

        def ended(outputs: Any, source: Any) -> Any:
            cls.crops -= 1
            return head(outputs, source)

        return super().finishing(prepare, ended, until, **rest)


@pytest.mark.parametrize(("crops", "most"), [(3, 3), (0, 1)])
async def test_where_memory_is_short_fewer_crops_are_held(
    engine: Engine, crops: int, most: int
) -> None:
    room = PixelRoom(crops * 3 * SIDE * SIDE * HELD_SHARE // TIGHT_BYTES_PER_PIXEL + 1)
    call = engine.chains.call("spots-chain")
    CountingPipeline.crops = CountingPipeline.most_crops = 0
    fields = {name: getattr(call.pipeline, name) for name in Pipeline.__dataclass_fields__}
    call = replace(call, pipeline=CountingPipeline(**{**fields, "room": room}))
    names = ["red", "blue"] * 10
    (outcome,) = await call.run([mosaic(names)], timeout_seconds=30)
    assert isinstance(outcome, JobResult)
    assert labels(outcome.value) == names
    assert most // 2 < CountingPipeline.most_crops <= most
