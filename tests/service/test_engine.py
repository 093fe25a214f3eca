"""The engine alone: every task, tensors, a video and their errors, with no HTTP in the process."""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from service.engine import Engine, open_engine
from service.errors import (
    BrokenImageError,
    ConfigurationError,
    InvalidParameterError,
    NotReadyError,
    UnknownModelError,
    WrongTaskError,
)
from service.explain.options import ExplainOptions
from service.imaging.overlay import RenderedImage
from service.settings import Settings
from service.tasks.classify import ClassifyOptions
from service.tasks.detect import DetectOptions
from service.tasks.embed import EmbedOptions
from service.tasks.task import TaskOptions
from service.tasks.tasks import TASKS
from service.video.events import VideoFrame, VideoStart, VideoSummary
from service.video.options import SamplingOptions
from tests.clips import counting
from tests.images import photograph
from tests.live import MODELS

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[Engine]:
    async with open_engine(Settings(models=MODELS, threads=1)) as opened:
        yield opened


async def test_every_model_of_the_repository_is_ready(engine: Engine) -> None:
    assert engine.not_ready() == []


async def test_an_image_is_classified(engine: Engine) -> None:
    (result,) = await engine.predict(
        "classify", [photograph("chelsea")], ClassifyOptions(top_k=2), model="efficientnet-lite0"
    )
    assert [one["label"] for one in result["predictions"]] == ["tiger cat", "Egyptian cat"]


async def test_a_cup_is_detected_and_drawn(engine: Engine) -> None:
    options = DetectOptions(classes=("cup",))
    (result,) = await engine.predict("detect", [photograph("coffee")], options)
    assert {one["label"] for one in result["detections"]} == {"cup"}
    (drawn,) = await engine.predict("detect", [photograph("coffee")], options, rendering="overlay")
    assert isinstance(drawn, RenderedImage)
    assert Image.open(BytesIO(drawn.content)).size == (600, 400)


async def test_the_cup_is_segmented_from_its_table(engine: Engine) -> None:
    (result,) = await engine.predict("segment", [photograph("coffee")], model="u2netp")
    (cup,) = result["segments"]
    assert 0.3 < cup["fraction"] < 0.6


async def test_two_images_of_one_thing_have_close_features(engine: Engine) -> None:
    results = await engine.predict("embed", [photograph("chelsea"), photograph("chelsea", "PNG")])
    one, other = (np.array(result["embedding"]) for result in results)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert one @ other > 0.99


async def test_one_bad_image_among_several_fails_alone(engine: Engine) -> None:
    good, bad = await engine.predict("classify", [photograph("chelsea"), b"\xff\xd8\xff\xe0cut"])
    assert good["predictions"]
    assert isinstance(bad, BrokenImageError)


async def test_what_can_not_be_answered_says_why(engine: Engine) -> None:
    with pytest.raises(InvalidParameterError, match="Tasks: classify, segment, detect"):
        await engine.predict("dream", [])
    with pytest.raises(InvalidParameterError, match="takes videos"):
        await engine.predict("temporal", [])
    with pytest.raises(UnknownModelError):
        await engine.predict("classify", [], model="nothing")
    with pytest.raises(WrongTaskError):
        await engine.predict("classify", [], model="u2netp")
    with pytest.raises(InvalidParameterError, match="Formats: overlay"):
        await engine.predict("detect", [], rendering="mask")


async def test_options_are_given_as_an_instance_or_by_name(engine: Engine) -> None:
    image = photograph("chelsea")
    by_name, typed = [
        (await engine.predict("classify", [image], options))[0]
        for options in ({"top_k": 2}, ClassifyOptions(top_k=2))
    ]
    assert by_name == typed
    assert len(typed["predictions"]) == 2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (DetectOptions(), "must be ClassifyOptions, not DetectOptions"),
        ({"top_k": 0}, "top_k: Input should be greater than or equal to 1, not 0"),
        ({"nms": "soft"}, "nms: there is no such parameter here; there are top_k$"),
    ],
)
async def test_options_that_the_task_does_not_take_are_refused(
    engine: Engine, options: TaskOptions | Mapping[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidParameterError, match=fault):
        await engine.predict("classify", [photograph("chelsea")], options)


async def test_a_task_is_listed_by_its_own_name() -> None:
    with pytest.raises(ConfigurationError, match="by its own name: photo"):
        Engine(Settings(models=MODELS), tasks={"photo": TASKS["classify"]})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"models": ("shape",)}, "The task shade uses networks for 'shape', and the tasks are"),
        (
            {"models": ("classify",), "outputs": ("logits", "depth")},
            "The task shade needs the outputs depth, which networks for classify do not have",
        ),
    ],
)
def test_a_task_that_borrows_what_no_network_has_stops_the_start(
    changes: dict[str, Any], reason: str
) -> None:
    shade = replace(TASKS["classify"], name="shade", **changes)
    with pytest.raises(ConfigurationError, match=reason):
        Engine(Settings(models=MODELS), tasks={**TASKS, "shade": shade})


async def test_embed_has_a_default_among_the_networks_that_it_borrows() -> None:
    engine = Engine(Settings(models=MODELS, defaults={"embed": "lenet5"}))
    call = engine.dispatch.call(TASKS["embed"], EmbedOptions())
    assert call.model.name == "lenet5"
    with pytest.raises(ConfigurationError, match="default of embed is 'motion'"):
        Engine(Settings(models=MODELS, defaults={"embed": "motion"}))


async def test_tensors_go_through_the_same_queue_as_images(engine: Engine) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = await engine.infer("lenet5", {"image": noise})
    session = ort.InferenceSession(
        MODELS / "lenet5" / "1" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    for name, rows in zip(names, session.run(names, {"image": noise}), strict=True):
        assert np.allclose(found[name], rows, atol=1e-5), name


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ({"picture": np.zeros((1, 32, 32, 3), np.uint8)}, "takes 'image', not picture"),
        ({"image": np.zeros((1, 32, 32, 3), np.float32)}, "is uint8 N×32×32×3, not float32"),
        ({"image": np.zeros((1, 32, 31, 3), np.uint8)}, "not uint8 1×32×31×3"),
        ({"image": np.zeros((0, 32, 32, 3), np.uint8)}, "not uint8 0×32×32×3"),
    ],
)
async def test_tensors_that_do_not_fit_are_refused(
    engine: Engine, tensors: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]], fault: str
) -> None:
    with pytest.raises(InvalidParameterError, match=fault):
        await engine.infer("lenet5", tensors)


@pytest.mark.parametrize("task", ["classify", "detect", "segment", "embed", "temporal"])
async def test_a_video_gives_a_start_its_frames_and_a_summary(engine: Engine, task: str) -> None:
    video = BytesIO(counting(30, "mp4", "h264"))
    sampling = SamplingOptions(max_frames=13 if task == "temporal" else 2)
    async with aclosing(engine.watch(task, video, sampling=sampling)) as watching:
        events = [event async for event in watching]
    start, *frames, summary = events
    assert isinstance(start, VideoStart)
    assert all(isinstance(frame, VideoFrame) for frame in frames)
    assert len(frames) == start.info.expected
    assert isinstance(summary, VideoSummary)
    assert summary.ended == "complete"
    assert summary.json()["summary"]


async def test_frames_are_drawn_where_that_is_wanted(engine: Engine) -> None:
    video = BytesIO(counting(5, "mp4", "h264"))
    sampling = SamplingOptions(every_n=5)
    async with aclosing(engine.watch("detect", video, sampling=sampling, draws=True)) as watching:
        frames = [event async for event in watching if isinstance(event, VideoFrame)]
    assert [frame.drawn is not None for frame in frames] == [True]
    with pytest.raises(InvalidParameterError, match="nothing that can be drawn"):
        await anext(engine.watch("embed", video, draws=True))


async def test_a_model_that_fails_to_load_does_not_keep_the_engine_from_opening(
    repository: Path,
) -> None:
    file = repository / "colors" / "1" / "model.onnx"
    file.write_bytes(file.read_bytes().replace(b"Softmax", b"Sofdmax"))
    async with open_engine(Settings(models=repository)) as opened:
        assert "certificate" in opened.not_ready()[0]
        with pytest.raises(NotReadyError):
            await opened.predict("classify", [photograph("chelsea")])


def test_the_engine_brings_no_http() -> None:
    program = (
        "import sys, service.engine;"
        "print([name for name in ('fastapi', 'starlette', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


async def test_a_class_is_explained_by_its_places_in_the_image(engine: Engine) -> None:
    options = ExplainOptions(view="cam", score=False)
    found = await engine.explain(photograph("coffee"), options, model="efficientnet-lite0")
    assert isinstance(found, dict)
    assert found["view"] == "cam"
    assert found["method"] == "cam"
    sheet = await engine.explain(None, ExplainOptions(view="filters", format="sheet"))
    assert isinstance(sheet, RenderedImage)
    with pytest.raises(InvalidParameterError, match="needs an image"):
        await engine.explain(None, options)
    with pytest.raises(WrongTaskError):
        await engine.explain(photograph("coffee"), options, model="motion")
