"""What the shapes of a file's weights show about the network that they were trained in."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from exporter.checkpoint import Checkpoint
from exporter.sources.inferred import (
    inferred_channels,
    inferred_classes,
    inferred_side,
    weights_of,
)
from exporter.state_dict import Found

Shapes = dict[str, tuple[int, ...]]


def state(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape) for name, shape in shapes.items()}


def shapes_of(module: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def classifier(classes: int, channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.Linear(8, classes))


@pytest.mark.parametrize(
    ("own", "file", "expected"),
    [
        (classifier(10), classifier(7), 7),
        (classifier(10), classifier(1), 1),
        (classifier(10), classifier(10), None),
        # Another number of channels says nothing about the classes.
        (classifier(10), classifier(7, 1), 7),
        (classifier(10), classifier(10, 1), None),
    ],
)
def test_the_last_layer_shows_the_classes(
    own: nn.Module, file: nn.Module, expected: int | None
) -> None:
    assert inferred_classes(own.state_dict(), file.state_dict(), 10) == expected


@pytest.mark.parametrize(
    ("own", "file", "expected"),
    [
        # A detector has a score for each of 6 anchors, and boxes that do not depend on the classes.
        ({"cls": (60, 8), "box": (24, 8)}, {"cls": (42, 8), "box": (24, 8)}, 7),
        ({"cls": (60, 8), "aux": (10, 4)}, {"cls": (42, 8), "aux": (7, 4)}, 7),
        ({"cls": (60, 8), "aux": (10, 4)}, {"cls": (42, 8), "aux": (6, 4)}, None),
        # No whole number of classes, or less than one.
        ({"cls": (60, 8)}, {"cls": (43, 8)}, None),
        ({"cls": (60, 8)}, {"cls": (6, 8)}, 1),
        ({"cls": (60, 8)}, {"cls": (0, 8)}, None),
        # Another network.
        ({"cls": (10, 8)}, {"cls": (7, 9)}, None),
        ({"cls": (10, 8)}, {"cls": (7, 8, 1)}, None),
        ({"cls": (10, 8), "conv": (8, 3, 3, 3)}, {"cls": (7, 8), "conv": (8, 3, 5, 5)}, None),
        # A transformer's places differ in another input size.
        ({"cls": (10, 8), "vit.pos_embed": (1, 17, 8)}, {"cls": (7, 8), "vit.pos_embed": (1, 10, 8)}, 7),
        ({"cls": (10, 8), "other": (1, 17, 8, 2)}, {"cls": (7, 8), "other": (1, 10, 8, 3)}, None),
        # Names that only one of them has do not count.
        ({"cls": (10, 8), "a": (3,)}, {"cls": (7, 8), "b": (9,)}, 7),
        ({}, {"cls": (7, 8)}, None),
    ],
)  # fmt: skip
def test_classes_are_inferred_only_where_all_layers_agree(
    own: Shapes, file: Shapes, expected: int | None
) -> None:
    assert inferred_classes(state(own), state(file), 10) == expected


@pytest.mark.parametrize(
    ("own", "file", "expected"),
    [
        ({"conv": (8, 3, 3, 3)}, {"conv": (8, 1, 3, 3)}, 1),
        ({"conv": (8, 3, 3, 3)}, {"conv": (8, 4, 3, 3)}, 4),
        ({"conv": (8, 3, 3, 3)}, {"conv": (8, 3, 3, 3)}, None),
        ({"conv": (8, 3, 3, 3)}, {"conv": (9, 1, 3, 3)}, None),
        ({"conv": (8, 3, 3, 3)}, {"conv": (8, 1, 5, 3)}, None),
        ({"fc": (8, 3)}, {"fc": (8, 1)}, None),
    ],
)
def test_the_first_layer_shows_the_channels(
    own: Shapes, file: Shapes, expected: int | None
) -> None:
    assert inferred_channels(state(own), state(file)) == expected


def places(count: int, name: str = "vit.pos_embed", width: int = 8) -> Shapes:
    return {name: (1, count, width)}


@pytest.mark.parametrize(
    ("own", "file", "expected"),
    [
        # 64 pixels in patches of 16 are 4·4 places, and one for the class; 6·6 are 96 pixels.
        (places(17), places(37), 96),
        (places(17), places(5), 32),
        (places(16), places(36), 96),
        # Two further ones, as DeiT's distilled networks have.
        (places(18), places(38), 96),
        (places(17, "encoder.pos_embedding"), places(37, "encoder.pos_embedding"), 96),
        (places(17, "position_embeddings"), places(37, "position_embeddings"), 96),
        (places(17), places(17), None),
        # No square, nothing left, another width or another name.
        (places(17), places(38), None),
        (places(17), places(1), None),
        (places(17), places(37, width=9), None),
        (places(17, "table"), places(37, "table"), None),
        ({"pos_embed": (17, 8)}, {"pos_embed": (37, 8)}, None),
    ],
)
def test_a_transformer_s_places_show_its_input_size(
    own: Shapes, file: Shapes, expected: int | None
) -> None:
    assert inferred_side(state(own), state(file), 64, 16) == expected


@pytest.mark.parametrize(
    "wrap", [lambda name: name, lambda name: f"module.{name}", lambda name: f"model.{name}"]
)
def test_a_file_s_weights_get_the_network_s_names(
    wrap: Callable[[str], str],
) -> None:
    own, file = classifier(10), classifier(7)
    found = {wrap(name): value for name, value in file.state_dict().items()}
    checkpoint = Checkpoint(Path("w.pt"), (Found(OrderedDict(found), ()),))

    ours, theirs = weights_of(own, checkpoint)

    assert {name: tuple(value.shape) for name, value in ours.items()} == shapes_of(own)
    assert {name: tuple(value.shape) for name, value in theirs.items()} == shapes_of(file)
