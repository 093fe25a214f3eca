"""Boxes that are none yet: offsets from anchors, as heads of SSD or YOLO give them before they are decoded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.box_grid import follows_no_grid
from exporter.heads.boxes import Y_FIRST, Candidates, xyxy
from exporter.heads.detect import DetectHead
from exporter.heads.grids import EVERY_GRID
from exporter.heads.one_output import MOST_QUERIES
from exporter.network import Array
from exporter.recipe_tables import DetectRecipe
from service.card import ImageInput

FEWEST = 20
"""Fewer different boxes show nothing."""

BOXES = 0.5
"""Of real boxes at least this share has an area, and its middle in the frame. Of offsets around zero a quarter has, in
the reading that suits them best."""

NO_SHARE = 0.02
"""Where so many numbers are beyond `LARGEST_SHARE`, they are no shares of the frame: boxes seldom leave it so far."""

LARGEST_SHARE = 1.5

NO_PIXEL = 8
"""Where 99 % of the numbers are less than this part of a side, they are no pixels: boxes are not all in its corner."""

_WITH_OBJECTNESS = {"yolov5", "yolov5_columns", "pair_objectness"}

_FORMS = (*Y_FIRST, *Y_FIRST.values())
_READINGS = tuple(product(_FORMS, ("frame", "pixel")))

_NEXT = (
    "No --decoder reads offsets, for the anchors are not in the file. Export the network with its decoding: from the "
    "call that gives boxes, as torchvision's and Ultralytics' models do and MMDetection's with mmdeploy, or as "
    "python:package.module:callable with a forward that adds it. If they are boxes all the same, state it: "
)


def refuse_undecoded(
    head: DetectHead, parts: Sequence[Candidates[Array]], image_input: ImageInput
) -> None:
    """Refuse offsets from anchors, where nothing states that they are boxes.

    They are what no reading makes boxes of, or what has as many rows as a grid has cells, and does not follow it.

    Args:
        head: with its activation settled, and what is assumed of its boxes.
        parts: the candidates on real images.
        image_input: the network's.

    Raises:
        RecipeError: the message says how to get boxes.
    """
    if not head.assumed:
        return
    rows = np.concatenate([one.boxes.reshape(-1, 4) for one in parts]).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)]
    if len(np.unique(rows.round(6), axis=0)) < FEWEST:
        return
    state = f"{_NEXT}{' and '.join(_option(head, part) for part in head.assumed)}"
    best = max(_share_of_boxes(rows, image_input, *reading) for reading in _READINGS)
    if best < BOXES:
        raise RecipeError(
            "The boxes look like offsets from anchors, or are those of another size of image: on real images at most "
            f"{best:.0%} of them have an area and their middle in the frame, read as two corners or as a point and a "
            f"size, in pixels or in 0–1 of the frame. {state}"
        )
    # Boxes of which the network has chosen some lie on no grid, whatever their number is.
    shapes = {one.boxes.shape[1:] for one in parts}
    if "format" not in head.assumed or not head.columns or len(shapes) > 1:
        return
    every = np.concatenate([one.boxes for one in parts])
    if _are_in_no_unit(rows, image_input):
        is_none = follows_no_grid(every, image_input, grids=EVERY_GRID)
    else:
        is_none = follows_no_grid(every, image_input, fewest_levels=_fewest_levels(head))
    if is_none:
        raise RecipeError(
            f"The boxes look like offsets from anchors: there are {head.anchors}, as many as a grid over "
            f"{image_input.height}×{image_input.width} pixels has, but on real images their numbers do not follow the "
            f"cells of that grid. {state}"
        )


@contextmanager
def naming_offsets(
    head: DetectHead, parts: Sequence[Candidates[Array]], image_input: ImageInput
) -> Iterator[None]:
    """Name offsets in an error that says to state another form, where boxes are as many as a grid has cells.

    They may be as many by chance, and so such boxes are not refused as offsets.
    """
    try:
        yield
    except RecipeError as error:
        every = [one.boxes for one in parts]
        is_open = "format" in head.assumed and head.columns
        if not is_open or len({one.shape[1:] for one in every}) > 1:
            raise
        if not follows_no_grid(np.concatenate(every), image_input, grids=EVERY_GRID):
            raise
        raise RecipeError(
            f"{error}. Or are they no boxes yet, but offsets or distances from the cells of a grid? There are as many, "
            f"{head.anchors}. Then export the network with its decoding; no --decoder reads offsets"
        ) from None


def _fewest_levels(head: DetectHead) -> int:
    """Return of how many strides a grid must be, so that as many boxes are no coincidence.

    Queries have no objectness.
    """
    if head.anchors > MOST_QUERIES:
        return 1
    return 2 if head.recipe.decoder in _WITH_OBJECTNESS else 3


def _are_in_no_unit(rows: Array, image_input: ImageInput) -> bool:
    """Return whether boxes (B, 4) are neither in 0–1 of the frame nor in pixels, as offsets in strides are."""
    sizes = np.abs(rows)
    side = min(image_input.height, image_input.width)
    is_small = float(np.percentile(sizes, 99)) < side / NO_PIXEL
    return is_small and float(np.mean(sizes > LARGEST_SHARE)) >= NO_SHARE


def _option(head: DetectHead, part: str) -> str:
    return f"--box-{part} {getattr(head.recipe, f'box_{part}')}"


def _share_of_boxes(rows: Array, image_input: ImageInput, form: str, unit: str) -> float:
    """Return the share of rows (B, 4) that have an area and their middle in the frame, read in this form and unit."""
    reading = DetectRecipe.model_validate({"box_format": form, "box_unit": unit})
    corners = xyxy(rows[None], reading, image_input)[0]
    first, second = corners[:, :2], corners[:, 2:]
    middle = (first + second) / 2
    is_box = (second > first) & (middle >= 0) & (middle <= 1)
    return float(np.mean(is_box.all(axis=1)))
