"""The way of an image: decoded and fitted, run in a batch, read by a head."""

import asyncio
import math
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from service.engine import Engine, open_engine
from service.errors import (
    BrokenImageError,
    ClientLeftError,
    DeadlineError,
    MalformedBase64Error,
    TooManyPixelsError,
    UnsupportedImageError,
)
from service.heads.outputs import Outputs
from service.heavy_jobs import HeavyJobs, Weight
from service.imaging.announced import Announced
from service.imaging.room import TIGHT_JPEG_SHARE
from service.imaging.source_image import SourceImage
from service.imaging.work import quick_work
from service.pipeline import EncodedImage, Pipeline
from service.runtime.job import Job, JobResult
from service.settings import Settings
from tests.images import encode, photograph, plain
from tests.pngs import RGB, SIGNATURE, chunk, header
from tests.servables import SIDE, write_servable
from tests.service.api.clock import Clock

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


async def test_headers_that_take_longer_than_the_deadline_end_the_request(engine: Engine) -> None:
    image = plain("red", (40, 20))
    chunks = image[:33] + chunk(b"tEXt") * 90_000 + image[33:]
    (model,) = engine.registry.models
    with pytest.raises(DeadlineError):
        await engine.pipeline.predict(model, [chunks] * 200, read, timeout_seconds=0.2)
    outcomes = await predict(engine, chunks, chunks, image)
    found = [one.value[0]["features"].tolist() for one in outcomes]
    assert found == [[255, 0, 0]] * 3


async def test_headers_are_not_read_for_a_client_that_has_left(engine: Engine) -> None:
    image = plain("red", (40, 20))
    chunks = image[:33] + chunk(b"tEXt") * 90_000 + image[33:]
    (model,) = engine.registry.models

    async def left() -> None:
        """Return at once."""

    with pytest.raises(ClientLeftError):
        await engine.pipeline.predict(
            model, [chunks] * 200, read, timeout_seconds=10, disconnected=left
        )


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


def png(width: int, height: int) -> bytes:
    """Return the header of a PNG, whose pixels are known by its first bytes."""
    return SIGNATURE + header((width, height), 8, RGB)


def tiff(width: int, height: int) -> bytes:
    """Return what stands for an image whose pixels only a reader knows."""
    return b"II*\0" + struct.pack("<2I", width, height)


@dataclass
class Stage:
    """A pipeline whose parts write down what they get; each takes its seconds on the clock."""

    most: int = 10**9
    clock: Clock = field(default_factory=lambda: Clock(100))
    announce_seconds: float = 0
    ahead_seconds: float = 0
    announced: list[list[bytes]] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    ahead: list[tuple[int, float, object]] = field(default_factory=list)
    submitted: list[tuple[list[Job[Any, Any]], float, object]] = field(default_factory=list)
    held: list[tuple[int, float]] = field(default_factory=list)
    prepared: list[tuple[bytes, object, float]] = field(default_factory=list)
    low_priority: list[bool] = field(default_factory=list)
    spreads: list[bool] = field(default_factory=list)
    waits_since: list[float | None] = field(default_factory=list)
    draws: list[bool] = field(default_factory=list)
    late: bool = False
    pixels: int = 64_000_000
    largest: int | None = None
    heavy: HeavyJobs = field(default_factory=lambda: HeavyJobs(2, 100))

    def prepare(
        self, image: bytes, target: object, until: float, *, draws: bool
    ) -> tuple[bytes, str]:
        self.prepared.append((image, target, until))
        self.draws.append(draws)
        return image, "source"

    def announce(self, images: Sequence[bytes], until: float) -> list[Announced]:
        self.announced.append(list(images))
        self.deadlines.append(until)
        self.clock.now += self.announce_seconds
        sizes = [math.prod(struct.unpack_from("<2I", image, 4)) for image in images]
        works = [quick_work(image) for image in images]
        return [
            Announced(size, size if work is None else work)
            for size, work in zip(sizes, works, strict=True)
        ]

    async def run(
        self, calls: Sequence[Callable[[], Any]], *, timeout_seconds: float, disconnected: object
    ) -> list[Any]:
        self.ahead.append((len(calls), timeout_seconds, disconnected))
        self.clock.now += self.ahead_seconds
        return [DeadlineError("late") if self.late else call() for call in calls]

    async def submit(
        self,
        jobs: list[Job[Any, Any]],
        *,
        timeout_seconds: float,
        disconnected: object = None,
        low_priority: bool,
        is_request: bool,
        bounded: bool = False,
        spreads: bool = False,
        waits_since: float | None = None,
    ) -> list[Any]:
        assert is_request
        self.waits_since.append(waits_since)
        assert low_priority == bounded
        self.low_priority.append(low_priority)
        self.spreads.append(spreads)
        self.submitted.append((jobs, timeout_seconds, disconnected))
        return list(jobs)

    @contextmanager
    def hold(
        self, pixels: int, until: float, *, tight_share: int = 1, on_worker: bool
    ) -> Iterator[None]:
        assert tight_share == TIGHT_JPEG_SHARE, "nothing is drawn on it"
        assert on_worker, "it waits for no video"
        self.held.append((pixels, until))
        yield

    def made(self) -> Pipeline:
        decoder = cast("Any", SimpleNamespace(prepare=self.prepare, announced=self.announce))
        room, ahead = cast("Any", self), cast("Any", SimpleNamespace(run=self.run))
        return Pipeline(decoder, self.most, room, ahead, self.heavy, self.clock)

    async def predict(self, *images: EncodedImage, seconds: float = 10) -> list[Job[Any, Any]]:
        """Return the jobs that were submitted, or the errors in their places, in order."""
        model: Any = SimpleNamespace(queue=self, card=SimpleNamespace(image_input="target"))
        return await self.made().predict(
            model, images, read, timeout_seconds=seconds, disconnected=gone
        )  # type: ignore[return-value]

    @property
    def left(self) -> float:
        """How long the queue was given."""
        return self.submitted[0][1]


async def gone() -> None:
    """Wait for a client that does not leave."""
    await asyncio.Event().wait()


async def test_small_images_go_straight_to_the_queue_with_all_of_their_time() -> None:
    stage = Stage()
    jobs = await stage.predict(png(10, 10))
    assert (stage.left, stage.ahead, stage.announced) == (10, [], [])
    assert (stage.low_priority, stage.submitted[0][2]) == ([False], gone)
    prepared: object = jobs[0].prepare()
    assert prepared == (png(10, 10), "source")
    assert stage.prepared == [(png(10, 10), "target", 110)], "it gives up at the deadline"


# `LARGE_WORK`, 16 million, is the most that a worker decodes.
@pytest.mark.parametrize(("width", "count"), [(4000, 0), (4001, 1)])
@pytest.mark.parametrize("kind", [png, tiff])
async def test_a_very_large_image_is_decoded_beside_the_workers(
    kind: Callable[[int, int], bytes], width: int, count: int
) -> None:
    stage = Stage(ahead_seconds=4)
    (job,) = await stage.predict(kind(width, 4000))
    assert [number for number, *_ in stage.ahead] == [1] * count
    assert len(stage.prepared) == count
    prepared: object = job.prepare()
    assert prepared == (kind(width, 4000), "source")
    assert len(stage.prepared) == 1, "it is prepared once"
    if count:
        assert stage.ahead == [(1, 10, None)]
        assert stage.left == 6, "of the ten seconds"
    assert (stage.low_priority, stage.spreads) == ([True], [True])
    assert stage.waits_since == [100], "it has yielded since it came"


# `LONG_WORK`, 8 million, is the most that stands in one line with small images.
@pytest.mark.parametrize(("width", "threads", "low_priority", "ahead"), [
    (4000, 2, False, 0), (4001, 2, True, 0), (4000, 1, False, 0), (4001, 1, True, 1)])  # fmt: skip
async def test_small_images_go_before_one_that_takes_long(
    *, width: int, threads: int, low_priority: bool, ahead: int
) -> None:
    stage = Stage(heavy=HeavyJobs(threads, 100))
    await stage.predict(png(width, 2000))
    assert (stage.low_priority, len(stage.ahead)) == ([low_priority], ahead)


async def test_only_the_very_large_ones_of_several_are() -> None:
    stage = Stage()
    missing = MalformedBase64Error("no base64")
    images: list[EncodedImage] = [
        png(10, 10),
        png(5000, 5000),
        missing,
        tiff(10, 10),
        tiff(5000, 5000),
    ]
    jobs = await stage.predict(*images)
    assert stage.ahead == [(1, 10, None)] * 2
    assert [image for image, *_ in stage.prepared] == [images[1], images[4]]
    assert [len(jobs) for jobs, *_ in stage.submitted] == [1] * 5
    assert (stage.low_priority, stage.spreads) == ([True] * 5, [False] * 5)
    with pytest.raises(MalformedBase64Error) as caught:
        jobs[2].prepare()
    assert caught.value is missing
    assert [jobs[place].prepare()[0] for place in (0, 1, 3, 4)] == [
        images[place] for place in (0, 1, 3, 4)
    ]


@pytest.mark.parametrize("kind", [png, tiff])
@pytest.mark.parametrize(("count", "low_priority"), [(3, [False]), (4, [True] * 4)])
async def test_several_images_of_many_bytes_go_one_by_one_behind_others(
    kind: Callable[[int, int], bytes], count: int, low_priority: list[bool]
) -> None:
    stage = Stage(most=10**18)
    await stage.predict(*[kind(1000, 1000) + chunk(b"tEXt", bytes(2_100_000))] * count)
    assert (stage.low_priority, stage.ahead) == (low_priority, [])
    alone = Stage()
    await alone.predict(kind(1000, 1000) + chunk(b"tEXt", bytes(3_900_000)))
    assert alone.low_priority == [False]


async def test_an_image_that_failed_beside_the_workers_fails_where_it_is_prepared() -> None:
    stage = Stage(late=True)
    (job,) = await stage.predict(png(5000, 5000))
    with pytest.raises(DeadlineError, match="late"):
        job.prepare()


async def test_time_that_is_over_is_none_and_not_less() -> None:
    stage = Stage(ahead_seconds=30)
    await stage.predict(png(5000, 5000))
    assert stage.left == 0
    stage = Stage(announce_seconds=30)
    await stage.predict(tiff(10, 10), tiff(5000, 5000))
    assert (stage.ahead, stage.left) == ([(1, 0, None)], 0)


async def test_counting_pixels_takes_its_time_from_the_queue() -> None:
    jpeg = b"\xff\xd8\0\0" + struct.pack("<2I", 10, 10)  # small, and no header where one must be
    for seconds, left in ((3, 7), (30, 0)):
        stage = Stage(announce_seconds=seconds)
        await stage.predict(jpeg, jpeg)
        assert (stage.announced, stage.ahead, stage.left) == ([[jpeg, jpeg]], [], left)


async def test_the_pixels_of_headers_that_only_a_reader_knows_are_counted_on_a_thread() -> None:
    stage = Stage(most=300, announce_seconds=3)
    await stage.predict(png(10, 10), tiff(10, 10), tiff(5, 20))
    assert stage.announced == [[tiff(10, 10), tiff(5, 20)]], "once"
    assert stage.deadlines == [110]
    assert stage.left < 10 - 3 + 1e-9
    stage = Stage(most=299)
    with pytest.raises(TooManyPixelsError, match="3 images have 0 million"):
        await stage.predict(png(10, 10), tiff(10, 10), tiff(5, 20))


async def test_a_reader_is_not_called_where_the_others_are_too_many_already() -> None:
    stage = Stage(most=99)
    with pytest.raises(TooManyPixelsError):
        await stage.predict(png(10, 10), tiff(10, 10))
    assert stage.announced == []
    stage = Stage(most=100)
    with pytest.raises(TooManyPixelsError):
        await stage.predict(png(10, 10), tiff(10, 10))
    assert stage.announced == [[tiff(10, 10)]]


async def test_an_error_in_the_place_of_an_image_has_no_pixels() -> None:
    stage = Stage(most=100)
    await stage.predict(png(10, 10), MalformedBase64Error("no base64"))
    assert len(stage.submitted) == 1


@pytest.mark.parametrize(("width", "held"), [(1000, []), (1001, [(1_001_000, 110)])])
async def test_a_head_of_a_large_image_waits_for_room(
    width: int, held: list[tuple[int, float]]
) -> None:
    stage = Stage()
    (job,) = await stage.predict(png(10, 10))
    geometry = SimpleNamespace(width=width, height=1000)
    outputs: Outputs = {}
    assert job.finish(outputs, SimpleNamespace(geometry=geometry)) == (outputs, geometry)
    assert stage.held == held


@pytest.mark.parametrize("form", ["PNG", "BMP"])
async def test_an_image_that_is_too_large_to_be_drawn_is_refused_before_the_network_runs(
    engine: Engine, form: str
) -> None:
    def require(pixels: int) -> None:
        if pixels > 800:
            raise TooManyPixelsError("too large to draw")

    (model,) = engine.registry.models
    small, large = plain("red", (40, 20), form), plain("red", (801, 1), form)
    if form == "PNG":
        large = large[:40]  # its header is enough: nothing is decoded
    drawn, refused = await engine.pipeline.predict(
        model, [small, large], read, timeout_seconds=10, require=require
    )
    assert isinstance(drawn, JobResult)
    assert isinstance(refused, TooManyPixelsError)
    with pytest.raises(TooManyPixelsError, match="too large to draw"):
        engine.pipeline.job(large, model.card, read, require=require).prepare()


def test_a_job_without_a_deadline_never_gives_up() -> None:
    stage = Stage()
    card: Any = SimpleNamespace(image_input="target")
    stage.made().job(png(1, 1), card, read).prepare()
    assert stage.prepared == [(png(1, 1), "target", math.inf)]


def test_the_decoder_knows_whether_a_head_draws_on_the_image() -> None:
    stage = Stage()
    card: Any = SimpleNamespace(image_input="target")
    for draws in (True, False):
        stage.made().job(png(1, 1), card, read, draws=draws).prepare()
    assert stage.draws == [True, False]


@pytest.mark.parametrize(("count", "is_heavy"), [(12, False), (13, True)])
async def test_images_that_take_long_together_are_queued_one_by_one(
    *, count: int, is_heavy: bool
) -> None:
    stage = Stage()
    images = [png(2000, 2000)] * count
    jobs = await stage.predict(*images)
    assert [job.prepare()[0] for job in jobs] == images
    assert (stage.ahead, stage.low_priority) == ([], [True] * count if is_heavy else [False])


@pytest.mark.parametrize(("pixels", "is_heavy"), [(4_000_000, False), (3_999_999, True)])
async def test_where_memory_is_short_images_that_would_wait_for_room_do_not_wait_on_a_worker(
    *, pixels: int, is_heavy: bool
) -> None:
    for threads in (1, 2):
        stage = Stage(pixels=pixels, largest=pixels, heavy=HeavyJobs(threads, 100))
        await stage.predict(png(2000, 1000))
        assert (len(stage.ahead), stage.low_priority) == (int(is_heavy), [is_heavy])


async def test_an_image_that_gets_no_place_before_its_deadline_fails_alone() -> None:
    stage = Stage()
    async with stage.heavy.place(Weight.LONG, seconds=1):
        outcomes = await stage.predict(png(5000, 5000), png(10, 10), seconds=0.01)
    assert isinstance(outcomes[0], DeadlineError)
    assert isinstance(outcomes[1], Job)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Engine]:
    """Return an engine with two threads that run batches."""
    write_servable(tmp_path)
    async with open_engine(Settings(models=tmp_path, threads=2)) as opened:
        yield opened


async def test_heads_of_large_images_leave_a_thread_to_small_ones(pair: Engine) -> None:
    (model,) = pair.registry.models
    gate, entered = threading.Event(), threading.Event()

    def draw(_: Outputs, source: SourceImage) -> int:
        entered.set()
        assert gate.wait(30)
        return source.geometry.width

    async def drawn() -> list[Any]:
        image = plain("red", (4001, 4000))
        return await pair.pipeline.predict(model, [image], draw, timeout_seconds=30, draws=True)

    drawing = [asyncio.create_task(drawn()) for _ in range(3)]
    try:
        assert await asyncio.to_thread(entered.wait, 30)
        for _ in range(20):
            (small,) = await predict(pair, plain("red"))
            assert isinstance(small, JobResult)
            await asyncio.sleep(0.05)
        assert not any(one.done() for one in drawing)
    finally:
        gate.set()
    assert [one.value for (one,) in await asyncio.gather(*drawing)] == [4001] * 3


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
async def test_many_images_that_take_long_leave_a_thread_to_small_ones(
    pair: Engine, form: str
) -> None:
    """Eight of 12 million pixels at once; each holds its thread until small ones were answered."""
    (model,) = pair.registry.models
    gate, image = threading.Event(), plain("red", (4000, 3000), form)

    def draw(_: Outputs, source: SourceImage) -> int:
        assert gate.wait(30)
        return source.geometry.width

    await predict(pair, plain("red"))
    large = [
        asyncio.create_task(pair.pipeline.predict(model, [image], draw, timeout_seconds=60))
        for _ in range(8)
    ]
    try:
        for _ in range(10):
            (small,) = await predict(pair, plain("red"))
            assert isinstance(small, JobResult)
            await asyncio.sleep(0.05)
    finally:
        gate.set()
    drawn: list[Any] = [one for (one,) in await asyncio.gather(*large)]
    assert [one.value for one in drawn] == [4000] * 8


@pytest.mark.parametrize("threads", [1, 2])
async def test_images_that_take_long_are_answered_in_an_endless_flood_of_small_ones(
    tmp_path: Path, threads: int
) -> None:
    write_servable(tmp_path)
    ended, answered = asyncio.Event(), 0
    images = [plain("red", (900, 900))] * 4
    large = plain("red", (4000, 3000), "WEBP")

    async def flood(engine: Engine) -> None:
        nonlocal answered
        (model,) = engine.registry.models
        while not ended.is_set():
            outcomes = await engine.pipeline.predict(model, images, read, timeout_seconds=60)
            answered += sum(isinstance(one, JobResult) for one in outcomes)

    settings = Settings(models=tmp_path, threads=threads, max_batch=2)
    async with open_engine(settings) as engine:
        floods = [asyncio.create_task(flood(engine)) for _ in range(16)]
        (model,) = engine.registry.models
        outcomes = await asyncio.gather(
            *(engine.pipeline.predict(model, [large], read, timeout_seconds=15) for _ in range(2))
        )
        ended.set()
        await asyncio.gather(*floods)
    assert all(isinstance(one, JobResult) for (one,) in outcomes)
    assert answered


async def test_a_request_of_many_scans_lets_small_images_pass(pair: Engine) -> None:
    image = encode(Image.new("L", (1000, 1000), 128), "JPEG", progressive=True)
    last = image[image.rfind(b"\xff\xda") : -2]
    image = image[:-2] + last * (100 - image.count(b"\xff\xda")) + b"\xff\xd9"
    heavy = asyncio.create_task(predict(pair, *[image] * 40))
    await asyncio.sleep(0.2)
    passed = 0
    while not heavy.done() and passed < 10:
        (small,) = await predict(pair, plain("red"))
        assert isinstance(small, JobResult)
        passed += not heavy.done()
    assert passed == 10
    assert all(isinstance(one, JobResult | DeadlineError) for one in await heavy)
