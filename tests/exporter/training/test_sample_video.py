"""The playground's sample video is the one that its script makes, and `motion` reads it as it is meant."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from exporter.sessions import served_session
from exporter.training.sample_video import (
    COURSE,
    FPS,
    POSTER_SECONDS,
    SECONDS,
    SIZE,
    encode,
    frames,
)
from service.imaging.resize import fit_image
from service.servable_file import read_card
from tests.clips import stored_frames

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "service" / "playground" / "samples"
BACKBONE = ROOT / "models" / "glance" / "1" / "model.onnx"
HEAD = ROOT / "models" / "motion" / "1" / "model.onnx"

LARGEST_DIFFERENCE = 4.0
"""Of the mean over a frame, where white is 255: what the encoding loses."""


@pytest.fixture(scope="module")
def drawn() -> list[NDArray[np.uint8]]:
    return list(frames())


@pytest.fixture(scope="module")
def stored() -> list[tuple[float, NDArray[np.uint8]]]:
    return stored_frames((SAMPLES / "motion.webm").read_bytes())


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def test_the_stored_video_is_the_one_that_is_drawn(
    drawn: list[NDArray[np.uint8]], stored: list[tuple[float, NDArray[np.uint8]]]
) -> None:
    assert len(stored) == len(drawn) == SECONDS * FPS
    assert stored[0][1].shape == (SIZE[1], SIZE[0], 3)
    assert [seconds for seconds, _ in stored] == pytest.approx(
        np.arange(len(drawn)) / FPS, abs=0.001
    )
    for made, (_, kept) in zip(drawn, stored, strict=True):
        assert difference(made, kept) < LARGEST_DIFFERENCE
    # Frames of other moments differ by more than that, so that the comparison means something.
    assert difference(drawn[0], stored[-1][1]) > 4 * LARGEST_DIFFERENCE


def test_its_image_is_one_of_its_frames(drawn: list[NDArray[np.uint8]]) -> None:
    kept = Image.open(SAMPLES / "motion.webp")
    frame = Image.fromarray(drawn[round(POSTER_SECONDS * FPS)])
    small = frame.resize(kept.size, Image.Resampling.LANCZOS)
    assert difference(np.asarray(small), np.asarray(kept)) < LARGEST_DIFFERENCE


def test_it_is_encoded_as_browsers_play_it(drawn: list[NDArray[np.uint8]]) -> None:
    few = drawn[: FPS // 2]
    body = encode(iter(few))
    assert body[:4] == bytes.fromhex("1a45dfa3"), "EBML, the beginning of a WebM"
    assert b"V_VP9" in body
    assert encode(iter(few)) == body, "the same frames give the same file"
    assert len(stored_frames(body)) == len(few)


def windows(head_frames: int, fps: float) -> Iterator[tuple[float, float, str]]:
    """Yield for each stretch of the course the window in its middle: its begin, its end and its way."""
    step = round(FPS / fps)
    for (begin, _, _), (end, way, _) in pairwise(COURSE):
        middle = round((begin + end) / 2 * fps) * step
        first = middle - head_frames // 2 * step
        yield first / FPS, (first + (head_frames - 1) * step) / FPS, way


def test_motion_reads_the_way_of_each_stretch(
    stored: list[tuple[float, NDArray[np.uint8]]],
) -> None:
    card, backbone = read_card(HEAD), read_card(BACKBONE)
    window = card.window
    assert window is not None
    look, judge = served_session(BACKBONE), served_session(HEAD)
    for begin, end, way in windows(window.frames, window.fps):
        times = np.linspace(begin, end, window.frames)
        images = [Image.fromarray(stored[round(time * FPS)][1]) for time in times]
        chosen = [fit_image(image, backbone.image_input)[0] for image in images]
        features = look.run(["features"], {"image": np.stack(chosen)})[0]
        (probabilities,) = judge.run(["probabilities"], {"features": features[None]})
        assert card.labels[int(probabilities[0].argmax())] == way
        assert probabilities.max() > 0.8, way
