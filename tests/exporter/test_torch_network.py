"""A module and its source's facts become a network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from exporter.errors import GraphError
from exporter.heads.segment import SegmentHead
from exporter.network import Facts
from exporter.progress import SilentProgress
from exporter.recipe import Pixels, make_recipe
from exporter.recipe_tables import SegmentRecipe
from exporter.torch_network import TorchModel, refuse_own_statistics, torch_network
from service.card import ImageInput
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.graphs import normal
from tests.exporter.nets import SIDE, OwnStatistics

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, while it traces

FRAME = ImageInput(height=16, width=16, resize="stretch")
MODEL = TorchModel(
    nn.Conv2d(3, 2, 1),
    Facts("Maps", "made by a test"),
    FRAME,
    Pixels(scale=1.0),
    transform=lambda _body: normal(3, 16, 16),
    segment=SegmentRecipe(activation="none", background_id=1),
)
RECIPE = make_recipe({"source": "python:a:b", "task": "segment", "name": "maps"})


def test_the_source_describes_its_outputs_and_its_preprocessing() -> None:
    network = torch_network(MODEL, RECIPE, SilentProgress())
    assert network.head == SegmentHead(2, (16, 16), "none", stated="none")
    assert (network.background_id, network.pixels.scale) == (1, 1.0)
    assert (network.reference.pixels_of_image(b"") == normal(3, 16, 16)).all()


def test_pixels_of_the_recipe_replace_the_source_s_transform() -> None:
    recipe = RECIPE.model_copy(
        update={"pixels": Pixels(scale=2.0), "segment": SegmentRecipe(background_id=0)}
    )
    network = torch_network(replace(MODEL, transform=None), recipe, SilentProgress())
    assert (network.background_id, network.pixels.scale) == (0, 2.0)


def test_a_batch_norm_without_running_statistics_is_named() -> None:
    with pytest.raises(GraphError, match=r"first\.1 is a batch norm without running statistics"):
        refuse_own_statistics(OwnStatistics())


class Segmenter(nn.Module):
    """Scores of each pixel, with the axes in another order than (N, C, h, w)."""

    def __init__(self, order: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv2d(3, 1 if order == "squeezed" else 2, 3, padding=1)
        self.order = order

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.layer(pixels)
        return maps[:, 0].sigmoid() if self.order == "squeezed" else maps.permute(0, 2, 3, 1)


@pytest.mark.parametrize("order", ["squeezed", "channels last"])
def test_a_segmenter_s_axes_may_have_another_order(order: str, tmp_path: Path) -> None:
    done = export_to(
        tmp_path,
        "python:tests.exporter.test_torch_network:Segmenter",
        arguments={"order": order},
        weights="none",
        task="segment",
        labels=["background", "object"],
        input={"height": SIDE, "width": SIDE},
    )

    frames = some_frames(2, SIDE)
    pixels = torch.tensor(frames.transpose(0, 3, 1, 2) / 255).float()
    scores = Segmenter(order).eval()(pixels)
    truth = scores > 0.5 if order == "squeezed" else scores.argmax(dim=3)
    assert (outputs_of(done.path, frames)["mask"] == truth.numpy()).all()
