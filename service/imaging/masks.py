"""A network's mask → a mask of the displayed image's size, with smooth edges; then its encodings."""

import math
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.imaging.blocks import BLOCK_PIXELS, blocks
from service.imaging.geometry import Box, Geometry
from service.imaging.resampling import resample

Mask = NDArray[np.uint8]
Region = NDArray[np.bool_]
Line = NDArray[np.float64]
_Point = tuple[float, float]
_IDS = 256
"""Values that an id may have."""
LARGEST_ENCODED = 1 << 23
"""Pixels of a region that pycocotools encodes itself: it takes 5 bytes for each."""
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class ImageMask:
    """A segmentation at the displayed image's size; every array is (height, width).

    Args:
        ids: uint8, the class of each pixel; means nothing where `seen` is False.
        confidence: uint8, the probability of that class in 1/255; 0 where `seen` is False.
        seen: bool, whether the network saw the pixel: a `crop` leaves the image's margins out.
    """

    ids: Mask
    confidence: Mask
    seen: Region

    def region(self, class_id: int) -> Region:
        """Return the seen pixels of a class, bool (height, width)."""
        region: Region = (self.ids == class_id) & self.seen
        return region

    def foreground(self, background_id: int | None) -> Region:
        """Return the seen pixels of every class but the background, bool (height, width)."""
        return self.seen if background_id is None else (self.ids != background_id) & self.seen

    def areas(self, classes: int) -> NDArray[np.intp]:
        """Return how many seen pixels each of so many classes has, at most 256, intp (classes,)."""
        found = np.zeros(_IDS, np.intp)
        for left, top, right, bottom in blocks(*self.ids.shape[::-1]):
            part = (slice(top, bottom), slice(left, right))
            found += np.bincount(self.ids[part][self.seen[part]], minlength=len(found))
        return found[:classes]

    def indices(self, unseen: int) -> Mask:
        """Return the ids, with `unseen` at each pixel that the network did not see, uint8 (height, width)."""
        return np.where(self.seen, self.ids, np.uint8(unseen))


def mask_on_image(ids: Mask, confidence: Mask, geometry: Geometry, classes: int) -> ImageMask:
    """Carry a mask from the network's frame to the displayed image.

    Ids can not be interpolated, their probabilities can: each class that is present gets a probability map (the stated
    probability where it won, an even share of the rest elsewhere, but less than the winner's: exact for two classes
    whose probabilities sum to one); these are enlarged bilinearly, and the class with the larger one wins. A
    letterbox's padding has no influence.

    Args:
        ids: uint8 (H, W), the winning class.
        confidence: uint8 (H, W), its probability in 1/255.
        geometry: where the frame lies.
        classes: how many there are, K.
    """
    part = _part_on_image(geometry, *ids.shape)
    ids, confidence = part.cut(ids), part.cut(confidence)
    present = np.unique(ids).tolist()
    best_ids = np.full((part.height, part.width), present[0], np.uint8)
    best = part.resized(class_probability(ids, confidence, present[0], classes))
    for class_id in present[1:]:
        share = part.resized(class_probability(ids, confidence, class_id, classes))
        np.putmask(best_ids, share > best, class_id)
        np.maximum(best, share, out=best)
    seen = np.ones(best.shape, np.bool_)
    return ImageMask(
        _on_whole(best_ids, geometry), _on_whole(best, geometry), _on_whole(seen, geometry)
    )


def class_probability(ids: Mask, confidence: Mask, class_id: int, classes: int) -> Mask:
    """Return one class's probability in 1/255, uint8 (H, W).

    A mask holds the probability of the best class only. Where another class is the best, the remaining probability is
    divided evenly among all others, but none gets as much as the best one: where each class has a probability of its
    own (sigmoids), the best one may be improbable too.
    """
    best = np.maximum(confidence, 1)
    rest = np.minimum((255 - confidence) // max(1, classes - 1), best - 1)
    return np.where(ids == class_id, best, rest).astype(np.uint8)


def enlarge(frame: Mask, geometry: Geometry) -> Mask:
    """Carry a map bilinearly from the frame to the image.

    Args:
        frame: uint8 (H, W), of the frame.
        geometry: where the frame lies.

    Returns:
        uint8 (height, width), of the displayed image; 0 where the network did not see it.
    """
    part = _part_on_image(geometry, *frame.shape)
    return _on_whole(part.resized(part.cut(frame)), geometry)


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a map (H, W) of the frame that shows image and no padding, and its size on the image in pixels.

    `box` is the part's exact place, in pixels of the map, within the whole pixels `rows` and `columns`.
    """

    rows: slice
    columns: slice
    box: Box
    width: int
    height: int

    def cut(self, frame: Mask) -> Mask:
        """Return the part of a map. Bilinear resizing reads a pixel beyond its box: no padding may be there."""
        return frame[self.rows, self.columns]

    def resized(self, part: Mask) -> Mask:
        """Return the part of a map at its size on the image.

        It is made in blocks: between its two passes, a resize holds as many rows as the part has, each as wide as the
        result.
        """
        image, whole = Image.fromarray(part), np.empty((self.height, self.width), np.uint8)
        x0, y0, x1, y1 = self.box
        across, down = (x1 - x0) / self.width, (y1 - y0) / self.height
        for left, top, right, bottom in blocks(self.width, self.height):
            box = (x0 + left * across, y0 + top * down, x0 + right * across, y0 + bottom * down)
            box = (box[0], box[1], min(x1, box[2]), min(y1, box[3]))
            size = (right - left, bottom - top)
            whole[top:bottom, left:right] = np.asarray(resample(image, size, "bilinear", box))
        return whole


def _part_on_image(geometry: Geometry, height: int, width: int) -> _Part:
    left, top, right, bottom = geometry.region
    x0, y0, x1, y1 = geometry.seen
    across, down = width / (right - left), height / (bottom - top)
    columns, begin_x, end_x = _span((x0 - left) * across, (x1 - left) * across, width)
    rows, begin_y, end_y = _span((y0 - top) * down, (y1 - top) * down, height)
    return _Part(rows, columns, (begin_x, begin_y, end_x, end_y), x1 - x0, y1 - y0)


def _span(begin: float, end: float, length: int) -> tuple[slice, float, float]:
    """Return the whole pixels around a stretch of a line of so many, and the stretch's ends within these."""
    begin, end = max(0.0, begin), min(float(length), end)
    # A letterbox's content begins and ends between two pixels, but for rounding errors.
    first, last = math.floor(begin + 1e-6), math.ceil(end - 1e-6)
    return slice(first, last), max(0.0, begin - first), min(float(last - first), end - first)


def _on_whole(seen: NDArray[Scalar], geometry: Geometry) -> NDArray[Scalar]:
    """Return an array of the image's size that holds one of the seen part, and zeros elsewhere."""
    if seen.shape == (geometry.height, geometry.width):
        return seen
    x0, y0, x1, y1 = geometry.seen
    whole = np.zeros((geometry.height, geometry.width), seen.dtype)
    whole[y0:y1, x0:x1] = seen
    return whole


@with_config(ConfigDict(extra="forbid"))
class RunLengths(TypedDict):
    """A region as COCO's compressed run-length encoding; `pycocotools.mask.decode` reads it."""

    size: Annotated[
        list[int], Field(min_length=2, max_length=2, description="Height and width in pixels")
    ]
    counts: Annotated[str, Field(description="COCO's compressed run lengths")]


def rle(region: Region) -> RunLengths:
    """Return COCO's compressed run-length encoding of a region, bool (height, width)."""
    if region.size <= LARGEST_ENCODED:
        found = coco.encode(np.asfortranarray(region, np.uint8))
    else:
        height, width = region.shape
        runs = {"size": [height, width], "counts": _runs(region)}
        found = coco.frPyObjects(runs, height, width)
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def _runs(region: Region) -> list[int]:
    """Return the lengths of the runs of False and True in turn, down the columns, some columns at a time."""
    height, width = region.shape
    columns = max(1, BLOCK_PIXELS // height)
    ends, last = [np.zeros(1, np.intp)], False
    for left in range(0, width, columns):
        values = region[:, left : left + columns].ravel(order="F")
        before = np.concatenate(([last], values[:-1]))
        ends.append(np.flatnonzero(values != before) + left * height)
        last = bool(values[-1])
    return [int(length) for length in np.diff(np.concatenate([*ends, [region.size]]))]


def bounding_box(region: Region) -> Box:
    """Return the tight xyxy box, in pixels, around a region, bool (height, width), that is not empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def polygons(region: Region) -> list[list[float]]:
    """Return the outlines of a region as COCO polygons: each is flat, [x, y, …] in pixels; a hole is one of its own.

    Marching squares at level one half. Pixel centers lie at +0.5. Points on a straight line are left out. An outline
    comes before the outlines of its holes.

    Args:
        region: bool (height, width).
    """
    limit = np.array(region.shape[::-1], np.float64)
    outlines = [_corners(np.clip(line - 0.5, 0, limit)) for line in _closed_lines(region)]
    return [outline.round(1).ravel().tolist() for outline in outlines if len(outline) >= 3]


def _closed_lines(region: Region) -> list[Line]:
    """Return the closed lines around the pixels of a region, in pixels from a border of one pixel around it.

    A large region is followed in bands of rows, since contourpy takes 28 bytes for each pixel; two bands share a row.
    Then the lines are sorted by their highest points: that of an outline is above those of its holes.
    """
    height, width = region.shape
    rows = max(1, BLOCK_PIXELS // width)
    if height <= rows:
        return _lines_of(region, 0, height + 1)
    closed: list[Line] = []
    parts: dict[_Point, Line] = {}
    for top in range(0, height + 1, rows):
        for line in _lines_of(region, top, min(top + rows, height + 1)):
            if np.array_equal(line[0], line[-1]):
                closed.append(line)
            else:
                parts[_point(line[0])] = line
    while parts:
        closed.append(_joined(parts))
    return sorted(closed, key=lambda line: float(line[:, 1].min()))


def _lines_of(region: Region, top: int, bottom: int) -> list[Line]:
    """Return the lines between two rows, both included, of a region with a border; open where they leave the rows."""
    height, width = region.shape
    # A border of False closes outlines at the image's edge.
    padded = np.zeros((bottom - top + 1, width + 2), np.float32)
    part = region[max(0, top - 1) : min(bottom, height)]
    first = int(top == 0)
    padded[first : first + len(part), 1:-1] = part
    found = contour_generator(z=padded, line_type=LineType.Separate).lines(0.5)
    shift = np.array((0.0, top))
    return [np.asarray(line) + shift for line in found]


def _joined(parts: dict[_Point, Line]) -> Line:
    """Return a closed line made of parts, which are taken away: each begins where another one ends."""
    start, line = parts.popitem()
    pieces = [line]
    while (end := _point(pieces[-1][-1])) != start:
        pieces.append(parts.pop(end)[1:])
    return np.concatenate(pieces)


def _point(place: NDArray[np.float64]) -> _Point:
    return float(place[0]), float(place[1])


def _corners(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points (N, 2) of a closed line where its direction changes, without the repeated last point."""
    points = line[:-1]
    ahead, back = np.roll(points, -1, axis=0) - points, points - np.roll(points, 1, axis=0)
    turns = np.abs(ahead[:, 0] * back[:, 1] - ahead[:, 1] * back[:, 0]) > 1e-9
    corners: NDArray[np.float64] = points[turns]
    return corners
