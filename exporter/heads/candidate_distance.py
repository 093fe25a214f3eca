"""How far the candidates of a graph are from those that its source gives."""

import numpy as np

from exporter.heads.metrics import inside_frame
from exporter.network import Array, Outputs

BEHIND = "behind"
"""The name of expected values (N, P, K): by how much the score of class K is behind the one that the candidate has.

They are there where a box has its best class alone.
"""

AT_THE_CUT = 1e-6
"""Scores that differ by no more have no order: sigmoids in float32 differ by 1e-7 between two ways to compute them."""

SEARCHED = 64
"""So many candidates at once are compared with all expected ones, which bounds the memory."""

AROUND = 8
"""So many expected candidates on each side of a score are looked at before all are."""


def above_own_cut(found: Outputs, expected: Outputs, clear: float) -> Outputs:
    """Return the candidates of one image without those that the network's own cut takes or leaves by rounding.

    A trained detector that returns its best 300 rows has many more with scores of about 1e-6, and which of these are
    the last rows is chance. Of clear scores none is left out.

    Args:
        found: boxes (D, 4), scores (D,) and classes (D,) of a network that names the class of each box.
        expected: the same of the source, sorted by score.
        clear: the score from which on a candidate is compared in any case.
    """
    last = expected["scores"][-1:]
    counts = (found["scores"] >= clear) | (found["scores"] > last + AT_THE_CUT)
    return {name: values[counts] for name, values in found.items()}


def largest_distance(found: Outputs, expected: Outputs, least: float) -> float:
    """Return the largest distance of a candidate to the nearest expected one of its class, but at least `least`.

    Those that have no near one at their place are searched for first. The search ends where no other can be farther.

    Args:
        found: boxes (D, 4), scores (D,) and classes (D,) of one image.
        expected: the same of other candidates, sorted in the same way, and `behind` (D, K) if there is any.
        least: a distance that is known already.
    """
    bounds = _distances_at_places(found, expected)
    farthest_first = np.argsort(-bounds)
    every = {name: values[None] for name, values in expected.items()}
    worst = least
    for start in range(0, len(bounds), SEARCHED):
        part = farthest_first[start : start + SEARCHED]
        if bounds[part[0]] <= worst:
            break
        some = {name: values[part, None] for name, values in found.items()}
        worst = max(worst, float(_distances(some, every).min(axis=1).max()))
    return worst


def _distances_at_places(found: Outputs, expected: Outputs) -> Array:
    """Return each candidate's distance (D,) to the nearest of the expected ones at its place and around its score."""
    same = np.arange(len(found["scores"]))
    by_score = np.searchsorted(-expected["scores"], -found["scores"])
    places = np.column_stack([same, by_score[:, None] + np.arange(-AROUND, AROUND)])
    places = places.clip(0, len(expected["scores"]) - 1)
    some = {name: values[:, None] for name, values in found.items()}
    # Without `behind`, which would be long to copy, the distance is too large and never too small.
    there = {name: values[places] for name, values in expected.items() if name != BEHIND}
    nearest: Array = _distances(some, there).min(axis=1)
    return nearest


def _distances(found: Outputs, expected: Outputs) -> Array:
    """Return the larger of the distances in box and in score; infinite where it is no number.

    Of two classes with almost the same score rounding decides which is a box's best one, and near zero many are exactly
    the same. So another class counts by how much its score is behind, and is infinitely far where this is not known.
    """
    boxes = _apart(found["boxes"], expected["boxes"])
    apart = np.maximum(boxes, np.abs(found["scores"] - expected["scores"]))
    differs = found["classes"] != expected["classes"]
    apart = np.where(differs, np.maximum(apart, _lost(found, expected)), apart)
    finite: Array = np.nan_to_num(apart, nan=np.inf)
    return finite


def _apart(found: Array, expected: Array) -> Array:
    """Return the largest difference of the sides of boxes (…, 4), in frames.

    What a caller reads is inside the frame. Suppression reads the boxes whole, where rounding is larger the farther
    their sides are from the frame: these differences are a share of the farthest one.
    """
    read = np.abs(inside_frame(found) - inside_frame(expected)).max(axis=-1)
    farthest = np.abs(expected).max(axis=-1, initial=1)
    whole = np.abs(found - expected).max(axis=-1) / farthest
    apart: Array = np.maximum(read, whole)
    return apart


def _lost(found: Outputs, expected: Outputs) -> Array:
    """Return what it costs that a candidate has not the class of the expected one."""
    behind = expected.get(BEHIND, np.empty((1, 0)))
    classes = np.broadcast_to(
        found["classes"], np.broadcast_shapes(found["classes"].shape, behind.shape[:-1])
    )
    is_known = (classes >= 0) & (classes < behind.shape[-1])
    if not is_known.any():
        return np.full(classes.shape, np.inf)
    at = np.where(is_known, classes, 0)[..., None]
    every = np.broadcast_to(behind, (*classes.shape, behind.shape[-1]))
    return np.where(is_known, np.take_along_axis(every, at, axis=-1)[..., 0], np.inf)
