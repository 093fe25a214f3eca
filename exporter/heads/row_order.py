"""In which order the columns of a detector's rows are, where the shape leaves it open: real images show it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.heads.arrange import SEVEN, SIX
from exporter.heads.boxes import DECODERS
from exporter.heads.detect import DetectHead
from exporter.heads.score_kind import in_unit_range
from exporter.heads.select_head import ROW_FORMS
from exporter.network import Array, Head

_ORDERS = {
    SIX: {"end2end": (4, 5), "paddle": (1, 0)},
    SEVEN: {"yolov7": (6, 5), "efficientdet": (5, 6), "detection_output": (2, 1)},
}
"""The columns of the score and of the class, by decoder; the first is taken where the rows show nothing."""


def settle_row_order(head: Head, outputs: Sequence[Sequence[Array]]) -> Head:
    """Return the head with the decoder that reads a score and a class where the rows have them.

    Args:
        head: of any task; one whose decoder is open gets one.
        outputs: the source's raw outputs for each of several real images.
    """
    if not isinstance(head, DetectHead) or head.recipe.decoder not in _ORDERS:
        return head
    rows = np.concatenate([_filled(one[0]) for one in outputs])
    orders = _ORDERS[head.recipe.decoder]
    usual = next(iter(orders))
    shown = [name for name, columns in orders.items() if _suits(rows, *columns)]
    decoder = shown[0] if len(shown) == 1 else usual
    if decoder == usual:
        recipe = head.recipe.model_copy(update={"decoder": decoder})
        return replace(head, recipe=recipe, decoder=DECODERS[decoder])
    form = {f"box_{part}": ROW_FORMS[decoder][f"box_{part}"] for part in head.assumed}
    recipe = head.recipe.model_copy(update={"decoder": decoder, **form})
    return replace(head, recipe=recipe, decoder=DECODERS[decoder], known_classes=None)


def _filled(raw: Array) -> Array:
    """Return the rows (R, C) of a raw output that are not filled up with one number."""
    rows = raw.reshape(-1, raw.shape[-1]).astype(np.float64)
    filled: Array = rows[(rows != rows[:, :1]).any(axis=1)]
    return filled


def _suits(rows: Array, score: int, kind: int) -> bool:
    """Return whether one column holds scores and the other class ids; scores that are whole numbers show nothing."""
    scores, kinds = rows[:, score], rows[:, kind]
    listed = kinds >= 0
    scores, kinds = scores[listed], kinds[listed]
    return (
        len(kinds) > 0
        and in_unit_range([scores])
        and not np.array_equal(scores, np.round(scores))
        and np.array_equal(kinds, np.round(kinds))
    )
