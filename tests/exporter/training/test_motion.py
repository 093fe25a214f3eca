"""The networks that are trained on moving objects."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from exporter.training.compositions import Material
from exporter.training.motion import (
    FEATURES,
    HEADS,
    PIXELS,
    Glance,
    Windows,
    WithoutTime,
    accuracy,
    clips_of,
)
from exporter.training.moving import FRAMES, LABELS, SIDE


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_every_head_reads_a_window_and_ignores_what_all_frames_share(
    make: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    head = make().eval()
    features = torch.randn(2, FRAMES, FEATURES)
    with torch.inference_mode():
        found, shifted = head(features), head(features + 5)
    assert found.shape == (2, len(LABELS))
    torch.testing.assert_close(found, shifted, atol=1e-4, rtol=1e-4)


def test_a_frame_has_one_vector_and_the_control_reads_one_vector() -> None:
    vector = Glance().eval()(torch.zeros(2, PIXELS.channels, SIDE, SIDE))
    assert vector.shape == (2, FEATURES)
    assert WithoutTime().eval()(vector).shape == (2, len(LABELS))


def test_every_way_of_moving_is_equally_frequent(material: tuple[Material, Material]) -> None:
    ways = [clip.way for clip in clips_of(material[1], 3, 2 * len(LABELS))]
    assert sorted(ways) == sorted([*range(len(LABELS))] * 2)


def test_the_accuracy_is_the_share_of_right_ways() -> None:
    features = torch.eye(len(LABELS))[:3]
    assert accuracy(nn.Identity(), Windows(features, torch.tensor([0, 1, 7]))) == pytest.approx(
        2 / 3
    )
