"""Outlines for annotation tools: no holes, few points, and never far from the mask's."""

import numpy as np
import pytest

from service.imaging.masks import polygons
from service.imaging.outlines import MOST_OUTLINES, MOST_POINTS, outer_outlines, simplified

SQUARE = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]]


def distance_to(outline: np.ndarray, points: np.ndarray) -> float:
    """Return how far the farthest of the points is from a closed outline, by brute force."""
    starts, ends = outline, np.roll(outline, -1, axis=0)
    along = ends - starts
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    offsets = points[:, None] - starts[None]
    share = np.clip((offsets * along).sum(axis=2) / length, 0, 1)
    nearest = starts + share[..., None] * along
    return float(np.hypot(*np.moveaxis(points[:, None] - nearest, 2, 0)).min(axis=1).max())


def test_holes_are_left_out_and_islands_in_them_are_not() -> None:
    region = np.zeros((40, 40), np.bool_)
    region[2:38, 2:38] = True
    region[8:32, 8:32] = False  # a hole
    region[15:25, 15:25] = True  # an island in it
    region[39, 39] = True
    found = outer_outlines(polygons(region))
    sizes = sorted(tuple(np.ptp(one, axis=0).tolist()) for one in found)
    assert sizes == [(1, 1), (10, 10), (36, 36)]


def test_only_the_largest_of_very_many() -> None:
    region = np.zeros((100, 100), np.bool_)
    region[::3, ::3] = True
    region[50:60, 50:60] = True
    found = outer_outlines(polygons(region))
    assert len(found) == MOST_OUTLINES
    assert any(np.ptp(one, axis=0).min() >= 10 for one in found)
    assert outer_outlines([]) == []


def test_points_on_straight_lines_go_and_corners_stay() -> None:
    between = [[x, 0.0] for x in range(11)] + [[10.0, y] for y in range(1, 11)] + SQUARE[3:]
    kept = simplified(np.array(between, np.float64), 0.001)
    assert sorted(kept.tolist()) == sorted(SQUARE)


@pytest.mark.parametrize("share", [0.001, 0.003, 0.01])
def test_no_point_is_farther_away_than_the_share_of_the_length(share: float) -> None:
    rows, columns = np.mgrid[:120, :120] - 60
    wave = np.hypot(rows, columns) < 40 + 8 * np.sin(5 * np.arctan2(rows, columns))
    [outline] = outer_outlines(polygons(wave))
    length = np.hypot(*(np.roll(outline, -1, axis=0) - outline).T).sum()
    kept = simplified(outline, share)
    assert 3 <= len(kept) < len(outline)
    assert distance_to(kept, outline) <= share * length + 1e-9


def test_a_ragged_outline_ends_at_so_many_points() -> None:
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    radius = 100 + np.random.default_rng(3).uniform(-5, 5, angle.size)
    star = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    assert len(simplified(star, 0)) == MOST_POINTS


def test_a_triangle_stays() -> None:
    triangle = np.array(SQUARE[:3])
    assert simplified(triangle, 1).tolist() == triangle.tolist()
