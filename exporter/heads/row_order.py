"""In which order the columns of a detector's rows are, where the shape leaves it open: real images show it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.boxes import DECODERS
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import SEVEN, SIX
from exporter.heads.score_kind import in_unit_range
from exporter.heads.select_head import ROW_FORMS
from exporter.network import Array, Head

_ORDERS = {
    SIX: {"end2end": (4, 5), "paddle": (1, 0), "class_score": (5, 4)},
    SEVEN: {"yolov7": (6, 5), "efficientdet": (5, 6), "detection_output": (2, 1)},
}
"""The columns of the score and of the class, by decoder; the first is taken where the rows show nothing."""

_WITH_IMAGE = _ORDERS[SEVEN]


@overload
def settle_row_order(head: DetectHead, outputs: Sequence[Sequence[Array]]) -> DetectHead: ...


@overload
def settle_row_order(head: Head, outputs: Sequence[Sequence[Array]]) -> Head: ...


def settle_row_order(head: Head, outputs: Sequence[Sequence[Array]]) -> Head:
    """Return the head with the decoder that reads a score and a class where the rows have them.

    Args:
        head: of any task; one whose decoder is open gets one.
        outputs: the source's raw outputs for each of several real images.

    Raises:
        RecipeError: the first column of rows that begin with the number of the image holds other numbers.
    """
    if not isinstance(head, DetectHead) or head.is_known:
        return head
    if head.recipe.decoder not in {*_ORDERS, *_WITH_IMAGE}:
        return head
    rows = np.concatenate([_filled(one[0]) for one in outputs])
    if head.recipe.decoder in _ORDERS:
        head = _with_order(head, rows)
    if head.recipe.decoder in _WITH_IMAGE:
        _require_image_numbers(head.recipe.decoder, rows)
    return head


def _with_order(head: DetectHead, rows: Array) -> DetectHead:
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


def _require_image_numbers(decoder: str, rows: Array) -> None:
    """Refuse rows that begin with a box, as (box, objectness, class score, class) do: they would be read one off.

    Rows whose score or class is none either are refused as another form, see `check_rows`.
    """
    given = rows[:, 0][rows[:, 0] >= 0]
    if not _suits(rows, *_WITH_IMAGE[decoder]):
        return
    are_whole = np.array_equal(given, np.round(given))
    if are_whole and set(given) == set(range(len(set(given)))) and len(set(given)) > 1:
        raise RecipeError(
            f"--decoder {decoder}: one list holds the rows of several images, numbered 0 to {given.max():.0f}, as of a "
            "network whose batch is fixed at more than one image. Which rows are those of one image is not followed: "
            "export the network again with a batch of 1"
        )
    if len(set(given)) > 1 or not are_whole:
        raise RecipeError(
            f"--decoder {decoder}: where each row has the number of its image, real images give "
            f"{given.min():.3g} to {given.max():.3g}, although the network gets one image at a time. Rows of box, "
            "objectness, class score, class, as the postprocessing of YOLOX and YOLOv3 gives them, are not read: "
            "export the network with rows of box, score, class (--decoder end2end), where the score is objectness "
            "times class score"
        )


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
