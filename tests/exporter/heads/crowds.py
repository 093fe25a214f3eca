"""Crowds: raw detector outputs of many objects, each found by many boxes."""

import numpy as np
from numpy.typing import NDArray

ANCHORS = 8400
"""The number of a YOLO's boxes for an image of 640×640."""

Floats = NDArray[np.float32]


def crowd(objects: int, boxes_each: int, classes: int = 1) -> tuple[Floats, Floats]:
    """Return boxes (1, A, 4), xyxy in 0–1, and scores (1, A, K); the objects stand on a grid and do not overlap.

    The best boxes of all objects have scores of 0.95 down to 0.35, as near and far people have. The other boxes
    of an object have lower ones, at least 0.31. All other anchors have the score 0.001.
    """
    random = np.random.default_rng(objects * boxes_each)
    boxes = np.zeros((1, ANCHORS, 4), np.float32)
    scores = np.full((1, ANCHORS, classes), 0.001, np.float32)
    side = int(np.ceil(objects**0.5))
    half = 0.35 / side
    places = random.permutation(ANCHORS)[: objects * boxes_each].reshape(objects, boxes_each)
    for one, rows in enumerate(places):
        middle = (np.array([one % side, one // side]) + 0.5) / side
        corners = np.concatenate([middle - half, middle + half])
        boxes[0, rows] = corners + random.normal(0, 0.05 * half, (boxes_each, 4))
        best = 0.95 - 0.6 * one / objects
        lower = np.maximum(0.31, best - 0.02 * np.arange(boxes_each))
        scores[0, rows, one % classes] = lower
    return boxes, scores
