"""What a network says of its pixel values is what its card states."""

from typing import cast

import pytest

from exporter.graph import Graph
from exporter.heads.embed import EmbedHead
from exporter.network import Facts, Network, Reference
from exporter.recipe import AssumedPixels, Pixels
from service.card import ImageInput, Normalization

NOTHING = cast("Graph", None)


def network(pixels: Pixels, assumed: tuple[AssumedPixels, ...] = ()) -> Network:
    return Network(
        graph=NOTHING,
        raw=("raw",),
        head=EmbedHead(),
        reference=cast("Reference", None),
        image_input=ImageInput(height=4, width=4, resize="stretch"),
        pixels=pixels,
        facts=Facts("", ""),
        assumed=assumed,
    )


@pytest.mark.parametrize(("color", "channels"), [("rgb", 3), ("bgr", 3), ("gray", 1)])
def test_a_card_has_a_mean_and_a_std_for_each_channel(color: str, channels: int) -> None:
    pixels = Pixels.model_validate(
        {"scale": 0.5, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "color": color}
    )

    assert network(pixels).normalization == Normalization.model_validate(
        {
            "scale": 0.5,
            "mean": (0.1, 0.2, 0.3)[:channels],
            "std": (0.4, 0.5, 0.6)[:channels],
            "color": color,
        }
    )


def test_what_nobody_stated_is_marked() -> None:
    assert network(Pixels(), ("mean",)).normalization.assumed == ("mean",)
    assert network(Pixels()).normalization.assumed == ()
