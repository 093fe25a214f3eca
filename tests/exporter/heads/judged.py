"""Detectors and what they give, as arrays, for tests of what is judged by values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.select_head import select_head
from exporter.network import Array
from exporter.recipe import make_recipe
from service.card import ImageInput

FRAME = ImageInput(height=64, width=64, resize="stretch")


def detect_head(decoder: str, *dims: tuple[int, ...], **detect: Any) -> DetectHead:
    """Return the head for outputs of these dimensions."""
    recipe = make_recipe(
        {
            "source": "onnx:net.onnx",
            "task": "detect",
            "name": "net",
            "detect": {"decoder": decoder, **detect},
        }
    )
    head = select_head(recipe, dims, FRAME)
    assert isinstance(head, DetectHead)
    return head


def array(*values: Any) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def split(head: DetectHead, *images: tuple[Array, ...]) -> list[Candidates[Array]]:
    """Return the candidates of each image's outputs."""
    return [head.decoder.split(one) for one in images]
