"""A segmenter's maps must move with the image."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.map_shift import refuse_unmoved_maps
from exporter.heads.metrics import resize_bilinear

Frames = NDArray[np.uint8]
Maps = NDArray[np.float64]
SIDE = 64


def frames(height: int = SIDE, width: int = SIDE) -> Frames:
    """Return frames of blocks of 4×4 pixels in random colors."""
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (5, height // 4, width // 4, 3), np.uint8)
    return blocks.repeat(4, axis=1).repeat(4, axis=2)


def segmented(batch: Frames) -> Maps:
    """Return maps (N, 3, H, W) that each place has of what is around it, for black beyond the edges."""
    planes = np.pad(batch.transpose(0, 3, 1, 2) / 255, ((0, 0), (0, 0), (2, 2), (2, 2)))
    height, width = batch.shape[1:3]
    moved = [
        planes[:, :, down : down + height, right : right + width]
        for down in range(5)
        for right in range(5)
    ]
    around: Maps = np.sum(moved, axis=0)
    return around


def judge(change: Callable[[Maps], Maps], height: int = SIDE, width: int = SIDE) -> None:
    def run(batch: Frames) -> Maps:
        return change(segmented(batch))

    given = frames(height, width)
    refuse_unmoved_maps(given, [run(frame[None]) for frame in given], run)


def alike(maps: Maps) -> Maps:
    return np.zeros_like(maps)


def noise(maps: Maps) -> Maps:
    return np.random.default_rng(int(maps.sum() * 1e6)).standard_normal(maps.shape)


def resized(maps: Maps, side: int) -> Maps:
    """Return maps of other sizes that cover the image, as a decoder for another size gives them."""
    return resize_bilinear(maps.astype(np.float32), (side, side)).astype(np.float64)


def smooth(maps: Maps) -> Maps:
    """Return maps that change so slowly that a few pixels beside the right place are hardly seen."""
    height, width = maps.shape[2:]
    padded = np.pad(maps, ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge")
    moved = [
        padded[:, :, down : down + height, right : right + width]
        for down in range(9)
        for right in range(9)
    ]
    mean: Maps = np.mean(moved, axis=0)
    return mean


def by_place(maps: Maps) -> Maps:
    return np.broadcast_to(np.arange(SIDE)[:, None], maps.shape) + 0.01 * maps


def bands(maps: Maps) -> Maps:
    """Return maps of sky above and road below, whatever the image, as a camera on a car teaches them."""
    return np.broadcast_to(np.cos(np.linspace(0, np.pi, SIDE))[:, None], maps.shape) + 0.01 * maps


def columns(maps: Maps) -> Maps:
    """Return maps of the place alone."""
    return bands(0 * maps).transpose(0, 1, 3, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda maps: maps,
        lambda maps: maps[:, :, ::4, ::4],
        lambda maps: maps.repeat(2, axis=2).repeat(2, axis=3),
        lambda maps: -maps,
        lambda maps: maps[:, :, :-1, :-1],
        lambda maps: maps[:, :, 1:-1, 1:-1],
        lambda maps: resized(maps, 56),
        lambda maps: resized(maps, 60),
        lambda maps: resized(maps, 28),
        alike,
        noise,
        by_place,
        bands,
        columns,
    ],
)
def test_maps_that_move_with_the_image_or_show_nothing_pass(change: Callable[[Maps], Maps]) -> None:
    judge(change)


@pytest.mark.parametrize("size", [(SIDE, SIDE), (SIDE, 96), (160, 256)])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda maps: maps.transpose(0, 1, 3, 2), "are transposed"),
        (lambda maps: maps[:, :, ::-1], "are mirrored"),
        (lambda maps: maps[:, :, :, ::-1], "are mirrored"),
        (lambda maps: maps[:, :, 12:-12, 12:-12], "the middle of an image alone"),
        (lambda maps: maps[:, :, 12:-12:2, 12:-12:2], "the middle of an image alone"),
        (lambda maps: smooth(maps)[:, :, 6:-6, 6:-6], "the middle of an image alone"),
        (lambda maps: smooth(maps)[:, :, 3:-3, 3:-3], "the middle of an image alone"),
    ],
)
def test_others_are_refused_with_what_they_are(
    change: Callable[[Maps], Maps], words: str, size: tuple[int, int]
) -> None:
    with pytest.raises(RecipeError, match=words):
        judge(change, *size)
