"""A network's mask → the displayed image's own size, with smooth edges; then its encodings."""

from dataclasses import dataclass

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from service.imaging.geometry import Box, Geometry

Mask = NDArray[np.uint8]
Rle = dict[str, object]


@dataclass(frozen=True, slots=True)
class ImageMask:
    """A segmentation at the displayed image's size, uint8 (height, width): ids, and their probability in 1/255."""

    ids: Mask
    confidence: Mask


def mask_on_image(ids: Mask, confidence: Mask, geometry: Geometry, classes: int) -> ImageMask:
    """Carry a mask from the network's frame to the displayed image.

    Ids can not be interpolated, their probabilities can: each class that is present gets a probability map (the stated
    one where it won, an even share of the rest elsewhere: exact for two classes), these are enlarged bilinearly, and
    the larger one wins. What the frame did not see, as with `crop`, stays class 0 with confidence 0.

    Args:
        ids: uint8 (H, W), the winning class.
        confidence: uint8 (H, W), its probability in 1/255.
        geometry: where the frame lies.
        classes: how many there are, K.
    """
    best_ids = np.zeros((geometry.height, geometry.width), np.uint8)
    best = np.zeros_like(best_ids)
    for class_id in np.unique(ids).tolist():
        share = enlarge(class_probability(ids, confidence, class_id, classes), geometry)
        wins = share > best
        best[wins] = share[wins]
        best_ids[wins] = class_id
    return ImageMask(best_ids, best)


def class_probability(ids: Mask, confidence: Mask, class_id: int, classes: int) -> Mask:
    """Return one class's probability in 1/255, uint8 (H, W): where another won, an even share of what that one left."""
    rest = (255 - confidence) // max(1, classes - 1)
    return np.where(ids == class_id, confidence, rest).astype(np.uint8)


def enlarge(frame: Mask, geometry: Geometry) -> Mask:
    """Carry a uint8 (H, W) map bilinearly from the frame to the image; 0 where the frame did not reach."""
    left, top, right, bottom = geometry.region
    height, width = frame.shape
    x0, y0, x1, y1 = geometry.seen
    # The seen part of the image, in pixels of the frame.
    across, down = width / (right - left), height / (bottom - top)
    box = (
        max(0.0, (x0 - left) * across),
        max(0.0, (y0 - top) * down),
        min(float(width), (x1 - left) * across),
        min(float(height), (y1 - top) * down),
    )
    seen = Image.fromarray(frame).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box)
    if seen.size == (geometry.width, geometry.height):
        return np.asarray(seen)
    whole = np.zeros((geometry.height, geometry.width), np.uint8)
    whole[y0:y1, x0:x1] = np.asarray(seen)
    return whole


def rle(region: NDArray[np.bool_]) -> Rle:
    """Return COCO's compressed run-length encoding of a bool (height, width) region."""
    found = coco.encode(np.asfortranarray(region, np.uint8))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def bounding_box(region: NDArray[np.bool_]) -> Box:
    """Return the tight xyxy box, in pixels, around a region that is not empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def polygons(region: NDArray[np.bool_]) -> list[list[float]]:
    """Return the region's outlines as COCO polygons, flat [x, y, …] in pixels, holes after what holds them.

    Marching squares at one half between pixel centers, which lie at +0.5; points on a straight line are left out.
    """
    # A rim of nothing closes outlines at the image's edge.
    padded = np.pad(region.astype(np.float32), 1)
    lines = contour_generator(z=padded, line_type=LineType.Separate).lines(0.5)
    limit = np.array(region.shape[::-1], np.float64)
    outlines = [_corners(np.clip(np.asarray(line) - 0.5, 0, limit)) for line in lines]
    return [outline.round(1).ravel().tolist() for outline in outlines if len(outline) >= 3]


def _corners(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop the repeated last point and every point on the way straight from one to the next."""
    points = line[:-1]
    ahead, behind = np.roll(points, -1, axis=0) - points, points - np.roll(points, 1, axis=0)
    turns = np.abs(ahead[:, 0] * behind[:, 1] - ahead[:, 1] * behind[:, 0]) > 1e-9
    corners: NDArray[np.float64] = points[turns]
    return corners
