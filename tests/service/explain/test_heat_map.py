"""Heat maps made by hand: do they find what was hidden in the image?"""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.card import ImageInput
from service.explain.class_activation import eigen_cam, exact_cam
from service.explain.heat_map import Heat
from service.explain.insertion_deletion import curve_scores, deletion
from service.explain.perturbed_copies import CELLS, RandomMasks, sliding_patch
from service.heads.targets import BoxTarget, place_of
from service.imaging.geometry import plan

NOISE = np.random.default_rng(3)
FRAME: NDArray[np.uint8] = NOISE.integers(0, 90, (64, 48, 3), np.uint8)
FRAME[40:52, 8:20] = 255
SPOT = (46 / 64, 14 / 48)
"""The bright spot's middle, down and across, in shares of the frame."""


def brightness(frame: NDArray[np.uint8]) -> float:
    """A network that looks at the spot alone, and wants all of it bright."""
    return float((frame[40:52, 8:20] / 255).mean())


def hottest(heat: Heat) -> tuple[float, float]:
    height, width = heat.values.shape
    row, column = np.unravel_index(heat.values.argmax(), heat.values.shape)
    return (float(row) + 0.5) / height, (float(column) + 0.5) / width


def test_random_masks_find_the_spot() -> None:
    masks = RandomMasks(seed=1, count=300)
    heat = masks.heat([brightness(make()) for make in masks.copies(FRAME)])
    assert hottest(heat) == pytest.approx(SPOT, abs=0.12)


def test_a_sliding_patch_finds_the_spot() -> None:
    patch = sliding_patch(150)
    assert patch.count == 144
    heat = patch.heat([brightness(make()) for make in patch.copies(FRAME)], brightness(FRAME))
    assert hottest(heat) == pytest.approx(SPOT, abs=0.1)


def test_masks_follow_from_seed_and_number_alone() -> None:
    one, same, other = RandomMasks(5, 4), RandomMasks(5, 9), RandomMasks(6, 4)
    assert np.array_equal(one.mask(2, 30, 40), same.mask(2, 30, 40))
    assert not np.array_equal(one.mask(2, 30, 40), one.mask(3, 30, 40))
    assert not np.array_equal(one.mask(2, 30, 40), other.mask(2, 30, 40))


def test_masks_show_half_of_every_place_and_are_smooth() -> None:
    masks = np.stack([RandomMasks(0, 600).mask(number, 40, 40) for number in range(600)])
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.mean(axis=0) == pytest.approx(np.full((40, 40), 0.5), abs=0.08)
    assert np.abs(np.diff(masks, axis=1)).max() <= (CELLS - 1) / 40 + 1e-6


def test_a_mask_is_the_same_at_every_size() -> None:
    large, small = (RandomMasks(0, 1).mask(0, side, side) for side in (80, 20))
    np.testing.assert_allclose(large[::4, ::4], small, atol=1e-6)


def test_an_exact_map_and_its_bias_are_the_logit() -> None:
    maps = NOISE.normal(size=(7, 5, 4)).astype(np.float32)
    weights = NOISE.normal(size=7).astype(np.float32)
    heat = exact_cam(maps, weights)
    assert heat.values.mean() == pytest.approx(weights @ maps.mean(axis=(1, 2)), abs=1e-5)


@pytest.mark.parametrize("channels", [3, 200])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_component_stands_where_the_maps_are_strong(channels: int, sign: int) -> None:
    maps = NOISE.normal(size=(channels, 9, 9), scale=0.05).astype(np.float32)
    direction = NOISE.normal(size=channels)
    maps[:, 6, 2] += (sign * 5 * direction).astype(np.float32)
    heat = eigen_cam(maps)
    assert divmod(int(heat.values.argmax()), 9) == (6, 2)


def test_the_first_component_points_to_the_target() -> None:
    maps = np.zeros((4, 6, 6), np.float32)
    maps[:, :, :3] = 5
    target = np.zeros((6, 6), np.float32)
    target[2:4, 4:] = 1
    heat = eigen_cam(maps, target)
    assert heat.values[:, 3:].min() > heat.values[:, :3].max()


@pytest.mark.parametrize("side", [1, 3, 8, 40])
def test_a_box_covers_its_share_of_a_grid(side: int) -> None:
    in_frame = np.array([0.25, 0.1, 0.75, 0.4], np.float32)
    target = BoxTarget("cup", 1, 0.9, (0, 0, 1, 1), in_frame, 0)
    covered = place_of(target, side, side)
    assert covered is not None
    assert covered.mean() == pytest.approx(0.5 * 0.3, abs=1e-5)
    assert 0 <= covered.min() <= covered.max() <= 1


def test_a_box_is_scored_by_its_best_likeness() -> None:
    in_frame = np.array([0.2, 0.2, 0.6, 0.6], np.float32)
    target = BoxTarget("cup", 1, 0.9, (0, 0, 1, 1), in_frame, 0)
    boxes = np.array([[0.2, 0.2, 0.6, 0.6], [0.2, 0.2, 0.6, 0.4], [0.7, 0.7, 0.9, 0.9]], np.float32)
    outputs = {"boxes": boxes, "scores": np.array([0.3, 0.8, 1.0], np.float32)}
    assert target.score({**outputs, "classes": np.array([1, 1, 1])}) == pytest.approx(0.4)
    assert target.score({**outputs, "classes": np.array([1, 2, 1])}) == pytest.approx(0.3)
    assert target.score({**outputs, "classes": np.array([2, 2, 2])}) == 0


def test_the_right_heat_inserts_early_and_deletes_early() -> None:
    right, wrong = np.zeros((64, 48), np.float32), np.ones((64, 48), np.float32)
    right[38:54, 6:22], wrong[38:54, 6:22] = 1, 0
    scores = {}
    for name, values in (("right", right), ("wrong", wrong)):
        copies = deletion(FRAME, Heat(values, 0, 1), 16).copies()
        scores[name] = curve_scores([brightness(make()) for make in copies])
    assert scores["right"]["insertion"] > scores["wrong"]["insertion"] + 0.2
    assert scores["right"]["deletion"] < scores["wrong"]["deletion"] - 0.2


def test_the_curves_run_from_nothing_to_all_and_back() -> None:
    heat = Heat(NOISE.random((7, 7)).astype(np.float32), 0, 1)
    frames = [make() for make in deletion(FRAME, heat, 8).copies()]
    assert len(frames) == 18
    assert np.array_equal(frames[8], FRAME)
    assert np.array_equal(frames[9], FRAME)
    assert len(np.unique(frames[17].reshape(-1, 3), axis=0)) == 1
    changed = [int((frame != FRAME).any(axis=2).sum()) for frame in frames[:9]]
    assert changed == sorted(changed, reverse=True)


def test_a_peak_on_the_padding_is_none() -> None:
    letterbox = ImageInput(height=100, width=100, resize="letterbox")
    values = np.zeros((10, 10), np.float32)
    values[0, 3], values[5, 7] = 9, 1
    peak = Heat(values, 0, 9).peak(plan(400, 200, letterbox))
    assert peak == {"x": 300.0, "y": 120.0, "value": 1.0}
