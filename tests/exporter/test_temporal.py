"""A temporal head becomes a proved servable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from exporter.errors import ProofError, RecipeError
from exporter.export import export
from exporter.network import Facts
from exporter.progress import Progress, SilentProgress
from exporter.recipe import Recipe
from exporter.recipe_tables import WindowRecipe
from exporter.temporal import TemporalModel
from service.servable_file import check_certificate, graph_sha256, read_card
from tests.servables import write_servable

WINDOW = WindowRecipe(frames=4, stride=2, fps=2)


class Trend(nn.Module):
    """Finds the channel of three that grows most from first to last."""

    def forward(self, features: Tensor) -> Tensor:
        slopes: Tensor = features[:, 1:] - features[:, :-1]
        return slopes.mean(dim=1)


class Forgetful(Trend):
    """Has other outputs in each run, as with dropout in training mode."""

    def forward(self, features: Tensor) -> Tensor:
        shift: Tensor = super().forward(features) + np.random.default_rng().uniform(0, 9)
        return shift * shift


def train_trend(_progress: Progress, backbone: Path) -> TemporalModel:
    assert read_card(backbone).name == "colors"
    windows = np.random.default_rng(0).uniform(0, 255, (30, 4, 3)).astype(np.float32)
    facts = Facts("Trend", "made by a test", labels=("red", "green", "blue"))
    return TemporalModel(Trend().eval(), facts, windows)


def train_forgetful(progress: Progress, backbone: Path) -> TemporalModel:
    return replace(train_trend(progress, backbone), module=Forgetful().eval())


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    write_servable(tmp_path)
    return Recipe(
        source="train:tests.exporter.test_temporal:train_trend",
        task="temporal",
        name="trend",
        backbone="colors/1/model.onnx",
        window=WINDOW,
        folder=tmp_path,
    )


def test_the_graph_has_the_outputs_of_its_module_at_every_batch(
    recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "trend/1/model.onnx"
    card = export(recipe, path, SilentProgress()).card
    assert card == read_card(path)
    check_certificate(path, card)
    assert (card.task, card.backbone, card.input) == ("temporal", "colors", None)
    assert card.backbone_sha256 == graph_sha256(tmp_path / "colors/1/model.onnx", 2)
    assert card.certificate.batches == (1, 2, 3, 7, 16)
    windows = np.random.default_rng(1).uniform(0, 255, (5, 4, 3)).astype(np.float32)
    logits, probabilities = ort.InferenceSession(path).run(None, {"features": windows})
    expected = Trend()(torch.from_numpy(windows))
    assert np.allclose(logits, expected, atol=1e-4)
    assert np.allclose(probabilities, expected.softmax(dim=1), atol=1e-5)


def test_a_head_that_is_not_its_graph_is_not_written(recipe: Recipe, tmp_path: Path) -> None:
    other = recipe.model_copy(
        update={"source": "train:tests.exporter.test_temporal:train_forgetful"}
    )
    path = tmp_path / "trend/1/model.onnx"
    with pytest.raises(ProofError, match="The graph differs from PyTorch"):
        export(other, path, SilentProgress())
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"window": None}, "window"),
        ({"backbone": None}, "backbone"),
        ({"source": "timm:resnet18"}, "train:"),
        ({"window": WindowRecipe(frames=9, stride=1, fps=2)}, "trained on 4"),
    ],
)
def test_what_a_temporal_head_needs_is_named(
    recipe: Recipe, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    with pytest.raises(RecipeError, match=named):
        export(recipe.model_copy(update=change), tmp_path / "m/1/model.onnx", SilentProgress())
