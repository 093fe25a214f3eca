"""Every result that a head or a combiner gives is exactly what its TypedDict declares, and so is its JSON schema."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from service.card import ImageInput
from service.card import Window as WindowShape
from service.heads.boxes import BOX_FORMATS
from service.heads.classify import Classification, classify
from service.heads.detect import DetectionOptions, DetectResult, detect
from service.heads.embed import Embedding, embed, embedding_json
from service.heads.outputs import Outputs
from service.heads.over_time.classify import ClassifyCombiner, ClassifyFrame, ClassifySummary
from service.heads.over_time.combiner import Combiner
from service.heads.over_time.detect import DetectCombiner, DetectFrame, DetectSummary
from service.heads.over_time.embed import EmbedCombiner, EmbedFrame, EmbedSummary
from service.heads.over_time.segment import SegmentCombiner, SegmentFrame, SegmentSummary
from service.heads.over_time.temporal import (
    TemporalCombiner,
    TemporalFrame,
    TemporalSummary,
    WindowResult,
)
from service.heads.segment import SegmentClasses, SegmentResult, segment
from service.imaging.source_image import SourceImage
from tests.source_images import STRETCH, source_of

LABELS = tuple("abcde")
CLASSES = SegmentClasses(LABELS, 0)
TARGETS = {
    "stretch": STRETCH,
    "crop": ImageInput(height=100, width=100, resize="crop", shorter_side=110),
    "letterbox": ImageInput(height=100, width=100, resize="letterbox"),
}
RESULTS: tuple[type, ...] = (
    Classification,
    DetectResult,
    SegmentResult,
    Embedding,
    ClassifyFrame,
    ClassifySummary,
    DetectFrame,
    DetectSummary,
    SegmentFrame,
    SegmentSummary,
    EmbedFrame,
    EmbedSummary,
    TemporalFrame,
    TemporalSummary,
    WindowResult,
)


def outputs(seed: int) -> dict[str, Any]:
    """Random outputs of every kind of network, in the dtypes of their graphs, float16 features among them."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(len(LABELS))).astype(np.float32)
    corner = random.uniform(-0.2, 0.8, (40, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0, 0.5, (40, 2))], axis=1)
    mask = random.integers(0, len(LABELS), (5, 5), np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    return {
        "probabilities": probabilities,
        "features": random.normal(size=8).astype(np.float16 if seed % 2 else np.float32),
        "boxes": boxes.astype(np.float32),
        "scores": random.random(40, np.float32),
        "classes": random.integers(0, len(LABELS), 40, np.int32),
        "mask": mask,
        "confidence": random.integers(60, 256, mask.shape).astype(np.uint8),
    }


def source(seed: int, kind: str) -> SourceImage:
    width, height = [(200, 100), (60, 90), (33, 500)][seed % 3]
    return source_of(width, height, TARGETS[kind])


def hold(declared: type, result: Mapping[str, Any]) -> None:
    """Hold a result, and what a client reads of it, against its declaration; no number is converted on the way."""
    adapter: TypeAdapter[Any] = TypeAdapter(declared)
    assert adapter.validate_python(result, strict=True) == result
    assert adapter.validate_json(json.dumps(result), strict=True) == result


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("seed", range(4))
def test_the_result_of_every_head_is_as_declared(seed: int, kind: str) -> None:
    given, image = outputs(seed), source(seed, kind)
    hold(Classification, classify(given, image, labels=LABELS, top_k=1 + seed))
    hold(Embedding, embedding_json(embed(given, image)))
    for with_polygons in (False, True):
        found = segment(given, image, classes=CLASSES, with_polygons=with_polygons)
        assert found["segments"]
        hold(SegmentResult, found)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("box_format", BOX_FORMATS)
@pytest.mark.parametrize("nms", ["per_class", "agnostic", "none", "soft"])
def test_detections_are_as_declared_whatever_the_options(
    *, nms: Any, box_format: Any, normalized: bool
) -> None:
    options = DetectionOptions(nms=nms, box_format=box_format, normalized=normalized)
    found = detect(outputs(1), source(1, "letterbox"), labels=LABELS, options=options)
    assert found["detections"]
    hold(DetectResult, found)


def test_results_without_anything_in_them_are_as_declared() -> None:
    nothing: dict[str, Any] = {
        "boxes": np.zeros((0, 4), np.float32),
        "scores": np.zeros(0, np.float32),
        "classes": np.zeros(0, np.int32),
        "mask": np.zeros((4, 4), np.uint8),
        "confidence": np.full((4, 4), 255, np.uint8),
        "features": np.zeros(3, np.float32),
    }
    image = source(0, "crop")
    hold(DetectResult, detect(nothing, image, labels=LABELS, options=DetectionOptions()))
    hold(SegmentResult, segment(nothing, image, classes=CLASSES, with_polygons=True))
    hold(Embedding, embedding_json(embed(nothing, image)))


def combiners() -> Iterator[tuple[Combiner[Any], type, type]]:
    """Yield a new combiner of each task, with the types of its frames and its summary."""
    yield ClassifyCombiner(LABELS, 3, 0.5), ClassifyFrame, ClassifySummary
    yield DetectCombiner(LABELS, DetectionOptions()), DetectFrame, DetectSummary
    yield SegmentCombiner(CLASSES, with_polygons=False), SegmentFrame, SegmentSummary
    yield SegmentCombiner(CLASSES, with_polygons=True), SegmentFrame, SegmentSummary
    yield EmbedCombiner(), EmbedFrame, EmbedSummary
    window = WindowShape(frames=3, stride=2, fps=2)
    yield TemporalCombiner(LABELS, 2, window), TemporalFrame, TemporalSummary


def read_windows(combiner: Combiner[Any], given: Outputs) -> list[Any]:
    return [combiner.add_window(window, given) for window in combiner.take_windows()]


@pytest.mark.parametrize("frames", [0, 1, 6])
def test_frames_and_summaries_of_every_combiner_are_as_declared(frames: int) -> None:
    for combiner, frame, summary in combiners():
        for number in range(frames):
            given = outputs(number)
            kept = combiner.keep(given, source_of(200, 100))
            result = dict(combiner.add(number / 3, kept))
            if windows := read_windows(combiner, given):
                result["windows"] = windows
                hold(WindowResult, windows[0])
            hold(frame, result)
        combiner.flush()
        read_windows(combiner, outputs(frames))
        hold(summary, combiner.summary())


@pytest.mark.parametrize("declared", RESULTS, ids=lambda declared: str(declared.__name__))
def test_a_key_that_is_not_declared_is_refused(declared: type) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        TypeAdapter(declared).validate_python({"surprise": 1})


@pytest.mark.parametrize("declared", RESULTS, ids=lambda declared: str(declared.__name__))
def test_the_json_schema_is_closed_and_gives_every_value_a_type(declared: type) -> None:
    for schema in parts(TypeAdapter(declared).json_schema()):
        assert schema.keys() & {"type", "anyOf", "$ref"}, schema
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["properties"]
        if schema.get("type") == "array":
            assert schema["items"]


def parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a JSON schema and every schema inside it."""
    yield schema
    inside = [schema["items"]] if "items" in schema else []
    inside += [*schema.get("anyOf", ()), *schema.get("properties", {}).values()]
    inside += schema.get("$defs", {}).values()
    for part in inside:
        yield from parts(part)
