"""`train:` sources: code that trains a network during the export."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.errors import SourceError, WeightsError
from exporter.progress import SilentProgress
from exporter.recipe import Recipe, make_recipe
from exporter.sessions import unoptimized_session
from exporter.sources.training import load
from exporter.tracing import PIXELS

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, while it traces

CODE = """
import torch
from torch import nn

from exporter.errors import WeightsError
from exporter.network import Facts
from exporter.recipe import Pixels
from exporter.torch_network import TorchModel
from service.card import ImageInput

def trained(progress):
    progress.begin("my training")
    from their_parts import layer
    net = nn.Sequential(layer(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    nn.init.constant_(net[0].weight, 0.5)
    nn.init.zeros_(net[0].bias)
    size = ImageInput(height=16, width=16, resize="stretch")
    facts = Facts("Mine", "trained now", labels=("a", "b"))
    return TorchModel(net, facts, size, Pixels())

def nothing(progress):
    return 7

def fails(progress):
    raise KeyError("no data")

def ends(progress):
    raise SystemExit("give a folder")

def refuses(progress):
    raise WeightsError("it did not reach its accuracy")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's own modules, which are forgotten afterwards."""
    before = set(sys.modules)
    (tmp_path / "their_training.py").write_text(CODE)
    (tmp_path / "their_parts.py").write_text(
        "from torch import nn\n\ndef layer():\n    return nn.Conv2d(3, 2, 1)\n"
    )
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("their_"):
            del sys.modules[name]


def recipe(name: str, folder: Path) -> Recipe:
    return make_recipe(
        {
            "source": f"train:their_training:{name}",
            "task": "classify",
            "name": "net",
            "folder": folder,
        }
    )


class Steps(SilentProgress):
    """Remembers what was begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []

    def begin(self, name: str) -> None:
        self.begun.append(name)


def test_a_network_is_trained_and_traced(folder: Path) -> None:
    steps = Steps()

    network = load("their_training:trained", recipe("trained", folder), steps)

    assert steps.begun[:2] == ["Train the network", "my training"]
    assert network.facts.labels == ("a", "b")
    pixels = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    (found,) = unoptimized_session(network.graph.draft()).run(None, {PIXELS: pixels})
    # Each class's score is half of the sum of the three channels' means.
    expected = 0.5 * torch.from_numpy(pixels).mean((2, 3)).sum(1, keepdim=True).expand(2, 2)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nothing", SourceError, "their_training:nothing returns a int, not an exporter.torch_net"),
        ("fails", SourceError, r"fails: KeyError: 'no data' \(their_training\.py, line \d+\)"),
        ("ends", SourceError, "SystemExit: give a folder"),
        ("refuses", WeightsError, "^train:their_training:refuses: it did not reach its accuracy$"),
        ("missing", SourceError, "^train:their_training:missing: .* has no missing"),
    ],
)
def test_code_that_trains_nothing_is_named(
    name: str, kind: type[Exception], message: str, folder: Path
) -> None:
    with pytest.raises(kind, match=message) as refused:
        load(f"their_training:{name}", recipe(name, folder), SilentProgress())
    assert type(refused.value) is kind
