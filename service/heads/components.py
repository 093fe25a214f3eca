"""A mask → its connected parts, each with its box: what a chain cuts out of an image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.heads.detect import Detection
from service.heads.outputs import Outputs
from service.imaging.geometry import Box, Geometry
from service.imaging.source_image import SourceImage

MOST_COMPONENTS = 300
"""The largest are kept: as many as a detector may return."""

Labels = NDArray[np.int32]


def components(
    outputs: Outputs,
    source: SourceImage,
    *,
    labels: Sequence[str],
    background_id: int | None,
    join_classes: bool,
) -> list[Detection]:
    """Return the connected parts of a mask, largest first, at most `MOST_COMPONENTS`.

    They are found in the network's frame, so that the work depends on the network and not on the image. Pixels that
    touch at a corner are connected.

    Args:
        outputs: `mask` and `confidence`, uint8 (H, W); the latter in 1/255.
        source: its geometry carries boxes from the frame to the image.
        labels: by class id.
        background_id: the class that is no part; None: every class is one.
        join_classes: whether pixels of different classes are connected. Then a part has the class of most of its
            pixels.
    """
    ids = outputs["mask"]
    content = _content(ids.shape, source.geometry)
    inside = content if background_id is None else content & (ids != background_id)
    parts = connected(np.where(inside, 0 if join_classes else ids.astype(np.int32), -1))
    sizes = np.bincount(parts[parts >= 0], minlength=0)
    largest = np.argsort(-sizes, kind="stable")[:MOST_COMPONENTS].tolist()
    edges = _edges(parts, len(sizes))
    found = []
    for part in largest:
        top, last_row, left, last_column = edges[part].tolist()
        place = np.s_[top : last_row + 1, left : last_column + 1]
        region = parts[place] == part
        class_id = int(np.bincount(ids[place][region]).argmax())
        score = float(outputs["confidence"][place][region].mean()) / 255
        name = labels[class_id] if class_id < len(labels) else f"class {class_id}"
        box = _box(place, ids.shape, source.geometry)
        found.append(Detection(name, class_id, score, box, region))
    return found


def connected(values: Labels) -> Labels:
    """Return the number of the connected part of each pixel, from 0; -1 where the value is negative.

    Pixels of the same value that touch, at a side or a corner, are connected.

    Args:
        values: int (H, W).
    """
    height, width = values.shape
    parts = np.where(values >= 0, np.arange(height * width).reshape(height, width), -1)
    pairs = np.concatenate([_touching(values, parts, *step) for step in _STEPS], axis=1)
    roots = np.arange(height * width)
    while pairs.size:
        one, other = roots[pairs[0]], roots[pairs[1]]
        different = one != other
        pairs, one, other = pairs[:, different], one[different], other[different]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(shorter := roots[roots], roots):
            roots = shorter
    found = np.where(parts >= 0, roots[np.maximum(parts, 0)], -1)
    numbers = np.unique(found[found >= 0])
    return np.where(found >= 0, np.searchsorted(numbers, found), -1).astype(np.int32)


_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows and columns from a pixel to four of its eight neighbors; it is the neighbor of the other four."""


def _touching(values: Labels, parts: NDArray[np.intp], down: int, across: int) -> NDArray[np.intp]:
    """Return the numbers (2, N) of neighbors with the same value."""
    height, width = values.shape
    here = np.s_[: height - down, max(0, -across) : width - max(0, across)]
    there = np.s_[down:, max(0, across) : width + min(0, across)]
    same = (values[here] == values[there]) & (values[here] >= 0)
    return np.stack([parts[here][same], parts[there][same]])


def _content(shape: tuple[int, ...], geometry: Geometry) -> NDArray[np.bool_]:
    """Return which pixels of the frame, (H, W), show image and no padding; the mask may have another size."""
    height, width = shape
    left, top, right, bottom = geometry.region
    columns = left + (np.arange(width) + 0.5) * (right - left) / width
    rows = top + (np.arange(height) + 0.5) * (bottom - top) / height
    across = (columns >= 0) & (columns < geometry.width)
    down = (rows >= 0) & (rows < geometry.height)
    inside: NDArray[np.bool_] = down[:, None] & across[None]
    return inside


def _edges(parts: Labels, count: int) -> NDArray[np.intp]:
    """Return the first and last row and column of each of so many parts, int (count, 4)."""
    rows, columns = np.nonzero(parts >= 0)
    numbers = parts[rows, columns]
    edges = np.zeros((count, 4), np.intp)
    edges[:, ::2] = max(parts.shape)
    for axis, places in ((0, rows), (2, columns)):
        np.minimum.at(edges[:, axis], numbers, places)
        np.maximum.at(edges[:, axis + 1], numbers, places)
    return edges


def _box(place: tuple[slice, slice], shape: tuple[int, ...], geometry: Geometry) -> Box:
    """Return the place of rows and columns of the frame on the image, xyxy in pixels."""
    (height, width), (rows, columns) = shape, place
    corners = (
        columns.start / width,
        rows.start / height,
        columns.stop / width,
        rows.stop / height,
    )
    left, top, right, bottom = geometry.boxes_on_image(np.array([corners], np.float32))[0].tolist()
    return left, top, right, bottom
