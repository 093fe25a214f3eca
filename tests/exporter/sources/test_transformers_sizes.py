"""Sizes that a network of Transformers may accept, from what its configuration states."""

from types import SimpleNamespace
from typing import Any

import pytest

from exporter.sources.transformers_sizes import near_sizes
from service.card import ImageInput

FRAME = ImageInput(height=800, width=1000, resize="stretch")


def config(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (config(patch_size=14), [(798, 994)]),
        (
            config(backbone_config=config(patch_size=14, num_windows=4, image_size=518)),
            [(798, 994), (784, 1008), (518, 518)],
        ),
        (
            config(backbone_config=config(patch_size=16, num_windows=16, num_windows_side=4)),
            [(800, 992), (768, 1024)],
        ),
        (config(vision_config=config(patch_size=32, image_size=[480, 640])), [(800, 992), (480, 640)]),
        (config(image_size=(800, 1000), patch_size=8), []),
        (config(), [(800, 992)]),
        (config(patch_size=None, image_size=None, backbone_config=None), [(800, 992)]),
    ],
)  # fmt: skip
def test_sizes_are_multiples_of_patches_and_windows_and_the_stated_one(
    of: Any, expected: list[tuple[int, int]]
) -> None:
    assert near_sizes(of, FRAME) == expected


def test_no_side_is_shorter_than_a_patch() -> None:
    frame = ImageInput(height=4, width=40, resize="stretch")

    assert near_sizes(config(patch_size=16), frame) == [(16, 32)]
