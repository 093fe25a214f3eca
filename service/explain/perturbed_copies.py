"""Perturbed copies of a frame that ask a black box what it looks at: random masks (RISE) and a sliding patch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from service.explain.heat_map import Heat, positive_heat, relative_heat
from service.explain.insertion_deletion import cover

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]

CELLS = 8
"""Cells a side of a random mask; with 7, 8 and 16 the authors of RISE found little difference."""
SHOWN = 0.5
HEAT_SIDE = 28
"""Places a side of the heat: four to a cell, which is as much as masks this coarse can tell."""
PATCH_CELLS = 2
"""How many places of the heat a sliding patch covers a side."""


@dataclass(frozen=True, slots=True)
class RandomMasks:
    """Smooth random masks, Petsiuk et al., "RISE", BMVC 2018: a coarse coin-flip grid, enlarged and shifted at random.

    Every mask follows from the seed and its number alone, so that copies may be made in any order, on any thread.
    """

    seed: int
    count: int

    def mask(self, number: int, height: int, width: int) -> Floats:
        """Return a mask, float32 (height, width), 0 hides and 1 shows."""
        noise = np.random.default_rng([self.seed, number])
        coins = (noise.random((CELLS + 1, CELLS + 1)) < SHOWN).astype(np.float32)
        down, across = noise.random(2)
        rows, columns = _interpolation(height, down), _interpolation(width, across)
        return (rows @ coins @ columns.T).astype(np.float32)

    def copies(self, frame: Frame) -> list[Callable[[], Frame]]:
        """Return what makes each copy of uint8 (H, W, 3): hidden places have the frame's mean color."""
        hidden = cover(frame).astype(np.float32)
        seen = frame.astype(np.float32)

        def copy(number: int) -> Callable[[], Frame]:
            def make() -> Frame:
                share = self.mask(number, *frame.shape[:2])[..., None]
                return np.rint(hidden + (seen - hidden) * share).astype(np.uint8)

            return make

        return [copy(number) for number in range(self.count)]

    def heat(self, scores: Sequence[float]) -> Heat:
        """Return the mean score of the copies that showed a place, weighted by how much they showed of it."""
        total = np.zeros((HEAT_SIDE, HEAT_SIDE), np.float64)
        weight = np.zeros_like(total)
        for number, score in enumerate(scores):
            mask = self.mask(number, HEAT_SIDE, HEAT_SIDE)
            total += mask * score
            weight += mask
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        return relative_heat(mean.astype(np.float32))


@dataclass(frozen=True, slots=True)
class SlidingPatch:
    """A patch of the mean color at every place of a grid, Zeiler and Fergus, ECCV 2014."""

    side: int
    """Places a side."""

    @property
    def count(self) -> int:
        return self.side**2

    def copies(self, frame: Frame) -> list[Callable[[], Frame]]:
        """Return what makes each copy of uint8 (H, W, 3), row by row."""
        hidden = cover(frame)

        def copy(row: int, column: int) -> Callable[[], Frame]:
            def make() -> Frame:
                patched = frame.copy()
                rows = _span(row, self.side, frame.shape[0])
                columns = _span(column, self.side, frame.shape[1])
                patched[rows, columns] = hidden[rows, columns]
                return patched

            return make

        return [copy(row, column) for row in range(self.side) for column in range(self.side)]

    def heat(self, scores: Sequence[float], whole: float) -> Heat:
        """Return how far below the whole image's score each covered place lets it fall."""
        drops = whole - np.array(scores, np.float32).reshape(self.side, self.side)
        return positive_heat(drops)


def sliding_patch(samples: int) -> SlidingPatch:
    """Return the finest grid of at most this many places."""
    return SlidingPatch(isqrt(samples))


def _interpolation(size: int, shift: float) -> Floats:
    """Return the (size, CELLS + 1) matrix that enlarges a grid's line bilinearly, shifted by a share of a cell."""
    places = np.arange(size) / size * (CELLS - 1) + shift
    left = places.astype(np.intp)
    matrix = np.zeros((size, CELLS + 1), np.float32)
    matrix[np.arange(size), left] = 1 - (places - left)
    matrix[np.arange(size), left + 1] += places - left
    return matrix


def _span(place: int, side: int, size: int) -> slice:
    """Return the pixels that a patch centered on a place covers along one axis."""
    cell = size / side
    middle, half = (place + 0.5) * cell, PATCH_CELLS * cell / 2
    return slice(max(0, round(middle - half)), min(size, max(1, round(middle + half))))
