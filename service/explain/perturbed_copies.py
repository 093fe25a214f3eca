"""Perturbed copies of a frame, for explanations that see only a network's outputs: random masks and a sliding patch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from service.explain.frame import Frame, mean_color
from service.explain.heat_map import Heat, positive_heat, relative_heat

Floats = NDArray[np.float32]

CELLS = 8
"""Cells along each side of a random mask; between 7, 8 and 16 the authors of RISE found little difference."""
SHOWN = 0.5
"""The probability that a cell of a random mask shows the image."""
HEAT_SIDE = 28
"""Places along each side of the heat: about four for each cell; masks this coarse can resolve no more."""
MOST_SIDE_BITS = 6
"""A grid of the most copies of a request, 4,000, has 63 places along each side."""
PATCH_CELLS = 2
"""How many places of the heat a sliding patch covers along each side."""


@dataclass(frozen=True, slots=True)
class RandomMasks:
    """Smooth random masks: a coarse grid of coin flips, enlarged bilinearly and shifted at random.

    Petsiuk et al., "RISE", BMVC 2018. A mask depends on the seed and its own number only, so that copies may be made in
    any order, on any thread.
    """

    seed: int
    count: int

    def mask(self, number: int, height: int, width: int) -> Floats:
        """Return a mask, float32 (height, width); 0 hides and 1 shows."""
        noise = np.random.default_rng([self.seed, number])
        coins = (noise.random((CELLS + 1, CELLS + 1)) < SHOWN).astype(np.float32)
        down, across = noise.random(2)
        rows, columns = _interpolation(height, down), _interpolation(width, across)
        return (rows @ coins @ columns.T).astype(np.float32)

    def copies(self, frame: Frame) -> list[Callable[[], Frame]]:
        """Return a function for each copy of uint8 (H, W, 3); hidden places get the frame's mean color."""
        hidden = mean_color(frame).astype(np.float32)
        shown = frame.astype(np.float32)

        def copy(number: int) -> Callable[[], Frame]:
            def make() -> Frame:
                share = self.mask(number, *frame.shape[:2])[..., None]
                return np.rint(hidden + (shown - hidden) * share).astype(np.uint8)

            return make

        return [copy(number) for number in range(self.count)]

    def heat(self, scores: Sequence[float]) -> Heat:
        """Return for each place the mean score of the copies, weighted by how much of the place each one showed."""
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
    """A patch of the mean color at each place of a grid of `side` × `side` places, Zeiler and Fergus, ECCV 2014."""

    side: int

    @property
    def count(self) -> int:
        return self.side**2

    def copies(self, frame: Frame) -> list[Callable[[], Frame]]:
        """Return a function for each copy of uint8 (H, W, 3), in the order of `places`."""
        hidden = mean_color(frame)

        def copy(row: int, column: int) -> Callable[[], Frame]:
            def make() -> Frame:
                patched = frame.copy()
                rows = _span(row, self.side, frame.shape[0])
                columns = _span(column, self.side, frame.shape[1])
                patched[rows, columns] = hidden[rows, columns]
                return patched

            return make

        return [copy(row, column) for row, column in self.places()]

    def places(self) -> list[tuple[int, int]]:
        """Return row and column of each place, in an order whose first ones are spread over the whole grid."""
        grid = [(row, column) for row in range(self.side) for column in range(self.side)]
        return sorted(grid, key=_dither)

    def heat(self, scores: Sequence[float], whole: float) -> Heat:
        """Return for each place how far the score falls below `whole`, the score of the image that is not covered.

        Args:
            scores: of the first copies, one at least; a place without one gets that of the nearest place.
            whole: 0–1.
        """
        places = np.array(self.places(), np.float32)
        distances = np.square(places[:, None] - places[None, : len(scores)]).sum(axis=2)
        drops = np.zeros((self.side, self.side), np.float32)
        nearest = np.array(scores, np.float32)[distances.argmin(axis=1)]
        drops[tuple(places.astype(np.intp).T)] = whole - nearest
        return positive_heat(drops)


def sliding_patch(samples: int) -> SlidingPatch:
    """Return the finest grid that has at most this many places."""
    return SlidingPatch(isqrt(samples))


def _dither(place: tuple[int, int]) -> int:
    """Return a place's rank in an ordered dither (Bayer 1973), whose every first part is spread evenly."""
    row, column = place
    rank = 0
    for bit in range(MOST_SIDE_BITS):
        rank = rank << 2 | (row ^ column) >> bit << 1 & 2 | row >> bit & 1
    return rank


def _interpolation(size: int, shift: float) -> Floats:
    """Return the matrix that enlarges CELLS + 1 values bilinearly to `size`, shifted by a share of a cell.

    Returns:
        float32 (size, CELLS + 1).
    """
    places = np.arange(size) / size * (CELLS - 1) + shift
    left = places.astype(np.intp)
    matrix = np.zeros((size, CELLS + 1), np.float32)
    matrix[np.arange(size), left] = 1 - (places - left)
    matrix[np.arange(size), left + 1] += places - left
    return matrix


def _span(place: int, side: int, size: int) -> slice:
    """Return the pixels, along one axis of `size` pixels, of a patch that is centered on one of `side` places."""
    cell = size / side
    middle, half = (place + 0.5) * cell, PATCH_CELLS * cell / 2
    return slice(max(0, round(middle - half)), min(size, max(1, round(middle + half))))
