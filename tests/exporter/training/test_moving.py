"""Clips to learn motion from: each goes the way that its label states, and no frame alone shows which."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from exporter.training.compositions import Material
from exporter.training.moving import BACKWARDS, FRAMES, LABELS, SIDE, Moving, move


@pytest.fixture(scope="module")
def material() -> Material:
    """Return one digit, a bar, and one photograph, even gray, on which it is seen exactly."""
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 10:18, 4:24] = 255
    gray = Image.new("RGB", (640, 640), (128, 128, 128))
    return Material(bar, np.array([1]), (gray,))


def clips(material: Material, way: str, count: int = 12) -> list[Moving]:
    rng = np.random.default_rng(5)
    return [move(material, rng, LABELS.index(way)) for _ in range(count)]


def seen(clip: Moving) -> NDArray[np.bool_]:
    """Return where the thing is, bool (FRAMES, SIDE, SIDE)."""
    background = np.median(clip.frames, axis=(0, 1, 2))
    found: NDArray[np.bool_] = (np.abs(clip.frames - background) > 30).any(axis=3)
    return found


def trend(values: list[float]) -> float:
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


def center(mask: NDArray[np.bool_], axis: int) -> list[float]:
    return [float(np.nonzero(frame)[axis].mean()) for frame in mask if frame.any()]


@pytest.mark.parametrize(
    ("way", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)]
)
def test_a_thing_moves_the_way_it_says(material: Material, way: str, axis: int, sign: int) -> None:
    for clip in clips(material, way):
        assert sign * trend(center(seen(clip), axis)) > 0.4


@pytest.mark.parametrize(("way", "sign"), [("growing", 1), ("shrinking", -1)])
def test_a_thing_grows_or_shrinks(material: Material, way: str, sign: int) -> None:
    for clip in clips(material, way):
        assert sign * trend([float(frame.sum()) for frame in seen(clip)]) > 1


@pytest.mark.parametrize(("way", "sign"), [("clockwise", 1), ("counter-clockwise", -1)])
def test_a_thing_turns_as_a_clock_or_against_it(material: Material, way: str, sign: int) -> None:
    right = []
    for clip in clips(material, way):
        angles = []
        for mask in seen(clip):
            rows, columns = np.nonzero(mask)
            if len(rows) > 20:
                spread = np.cov(columns, rows)
                angles.append(np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1]))
        # The axis of a bar comes round after half a turn; down is positive, so clockwise is too.
        right.append(sign * trend(np.unwrap(angles).tolist()) > 0)
    assert np.mean(right) >= 0.8


def test_what_is_still_stays(material: Material) -> None:
    for clip in clips(material, "still"):
        drift = np.abs(clip.frames[0].astype(int) - clip.frames[-1]).mean(axis=2)
        assert np.percentile(drift, 95) < 20


def test_a_frame_drawn_by_chance_lies_the_same_whichever_way(material: Material) -> None:
    rng = np.random.default_rng(6)
    places = {}
    for way in ("left", "right", "still"):
        columns = []
        for clip in clips(material, way, 150):
            frame = seen(clip)[rng.integers(FRAMES)]
            if frame.any():
                columns.append(float(np.nonzero(frame)[1].mean()))
        places[way] = (np.mean(columns), np.std(columns))
    for mean, spread in places.values():
        assert abs(mean - SIDE / 2) < 4
        assert spread == pytest.approx(places["still"][1], rel=0.3)


def test_each_way_backwards_is_another_and_back_again() -> None:
    for way, other in enumerate(BACKWARDS):
        assert BACKWARDS[other] == way
    assert LABELS[BACKWARDS[LABELS.index("left")]] == "right"
    assert LABELS[BACKWARDS[LABELS.index("clockwise")]] == "counter-clockwise"
    assert LABELS[BACKWARDS[LABELS.index("still")]] == "still"
