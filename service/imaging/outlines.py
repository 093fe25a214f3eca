"""Outlines of a mask, as annotation tools keep them: without holes, and of few points."""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
MOST_OUTLINES = 256
"""Of one class; a noisy mask has thousands, each of a few pixels."""
MOST_POINTS = 2000
"""Of one outline. Each takes time in proportion to the length of the outline."""


def outer_outlines(polygons: Sequence[Sequence[float]]) -> list[Points]:
    """Return the outlines that are no holes, each (N, 2) as x and y in pixels: the `MOST_OUTLINES` largest, in order.

    Args:
        polygons: as `masks.polygons` gives them: flat, [x, y, …], the first one no hole, and holes in the other sense
            of rotation.
    """
    outlines = [np.asarray(one, np.float64).reshape(-1, 2) for one in polygons]
    areas = np.array([_signed_area(one) for one in outlines])
    outer = np.flatnonzero(areas * areas[:1] > 0)
    largest = outer[np.argsort(-np.abs(areas[outer]), kind="stable")[:MOST_OUTLINES]]
    return [outlines[index] for index in np.sort(largest).tolist()]


def simplified(outline: Points, share: float) -> Points:
    """Return an outline (N, 2) with fewer points, at most `MOST_POINTS`.

    Where so many are enough, no point of the outline is farther from the new one than `share` of the outline's length
    (Douglas and Peucker, 1973). The outline is split where it is farthest from its first point.
    """
    steps = np.roll(outline, -1, axis=0) - outline
    tolerance = share * float(np.hypot(*steps.T).sum())
    if len(outline) < 4:
        return outline
    far = int(np.hypot(*(outline - outline[0]).T).argmax())
    closed = np.concatenate([outline, outline[:1]])
    kept = {0, far}
    parts = [_part(closed, 0, far), _part(closed, far, len(outline))]
    heapq.heapify(parts)
    while parts and len(kept) < MOST_POINTS:
        distance, first, middle, last = heapq.heappop(parts)
        if -distance <= tolerance:
            break
        kept.add(middle)
        heapq.heappush(parts, _part(closed, first, middle))
        heapq.heappush(parts, _part(closed, middle, last))
    simple: Points = outline[sorted(kept)]
    return simple


def _part(closed: Points, first: int, last: int) -> tuple[float, int, int, int]:
    """Return the part of an outline between two points: its negative distance from their line, and where that is."""
    if last - first < 2:
        return 0.0, first, first, last
    line, offsets = closed[last] - closed[first], closed[first + 1 : last] - closed[first]
    length = float(np.hypot(*line))
    distances = np.hypot(*offsets.T)
    if length:  # they are two points
        distances = np.abs(line[0] * offsets[:, 1] - line[1] * offsets[:, 0]) / length
    at = int(distances.argmax())
    return -float(distances[at]), first, first + 1 + at, last


def _signed_area(outline: Points) -> float:
    x, y = outline.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
