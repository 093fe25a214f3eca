"""A chain's answer drawn on its image: every box, with what the last step says of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from service.chains.result import all_boxes
from service.imaging.overlay import LabeledBox, draw_boxes


def draw_chain(image: Image.Image, boxes: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Return a copy of the image, mode RGB, with all boxes of a chain and what is known of them drawn on it."""
    return draw_boxes(image.copy(), [_labeled(box) for box in all_boxes(boxes)])


def _labeled(box: Mapping[str, Any]) -> LabeledBox:
    corners = box["box"]
    place = (corners["x_min"], corners["y_min"], corners["x_max"], corners["y_max"])
    for answer in box["answers"].values():
        predictions = answer.get("result", {}).get("predictions")
        if predictions:
            best = predictions[0]
            return LabeledBox(place, f"{best['label']} {best['probability']:.0%}", best["class_id"])
    return LabeledBox(place, f"{box['label']} {box['score']:.0%}", box["class_id"])
