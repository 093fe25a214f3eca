"""What a detector finds clearly in an image, for judging what its boxes are by how they follow changed images."""

import numpy as np
from numpy.typing import NDArray

from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.detections import Detections
from exporter.heads.metrics import suppress
from exporter.heads.thinning import NMS_IOU
from exporter.network import Array

SEEN_SCORE = 0.3
"""The service's default score threshold."""
SHOWN = 20
"""Of an image the best detections of at least this score count."""


def find_clearly(
    head: DetectHead, part: Candidates[Array], corners: Array
) -> tuple[Detections, NDArray[np.int64]]:
    """Return the best detections of one image after suppression, and the row of each one's box, int64 (B,).

    Args:
        head: with its activation settled.
        part: the candidates, a batch of one image.
        corners: their boxes as they are read, xyxy in 0–1 of the frame (A, 4).
    """
    scores, anchors, classes = (one[0] for one in head.pairs(part))
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= SEEN_SCORE][: 10 * SHOWN]
    boxes = corners[anchors[order]]
    kept = suppress(boxes, scores[order], classes[order], NMS_IOU, most=SHOWN)
    best = order[kept]
    return Detections(boxes[kept], scores[best], classes[best]), anchors[best].astype(np.int64)
