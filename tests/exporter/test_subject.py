"""What is asked where an image network does not agree with its source on encoded images."""

from typing import cast

import pytest

from exporter.graph import Graph
from exporter.heads.classify import ClassifyHead
from exporter.network import Facts, Network, Reference
from exporter.recipe import Pixels
from exporter.subject import ImageSubject
from service.card import ImageInput
from tests.images import photograph

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("pixels", "asked"),
    [
        (Pixels(mean=MEAN, std=STD), "resize policy"),
        (Pixels(scale=1.0), "resize policy"),
        (Pixels(scale=1.0, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)), "resize policy"),
        (Pixels(scale=1.0, mean=MEAN, std=STD), "reads 1136 where an image is white: is --scale"),
    ],
)
def test_values_far_beyond_bytes_ask_about_the_scale(pixels: Pixels, asked: str) -> None:
    network = Network(
        graph=cast("Graph", None),
        raw=("raw",),
        head=ClassifyHead(2),
        reference=cast("Reference", None),
        image_input=ImageInput(height=4, width=4, resize="stretch"),
        pixels=pixels,
        facts=Facts("", ""),
    )

    assert asked in ImageSubject.of(network, (photograph("coffee"),)).advice
