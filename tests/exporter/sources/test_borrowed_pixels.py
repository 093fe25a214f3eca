"""A file of the user's own does not state its mean and std: those of the library are assumed, with a warning."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from exporter.outcome import Exported
from tests.exporter.exporting import export_to

SMALL: dict[str, Any] = {
    "labels": ("a", "b", "c"),
    "input": {"height": 64, "width": 64, "shorter_side": 64},
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def exported(folder: Path, library: str, **fields: Any) -> Exported:
    """Export a network of three classes whose weights are in a file."""
    if library == "torchvision":
        source, module = "torchvision:squeezenet1_1", models.squeezenet1_1(num_classes=3)
    else:
        name = "test_efficientnet"
        source, module = f"timm:{name}", timm.create_model(name, num_classes=3)
    torch.save(module.state_dict(), folder / "own.pth")
    return export_to(folder, source, **{"weights": "own.pth", **SMALL, **fields})


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_mean_and_std_of_published_weights_are_assumed_for_weights_of_a_file(
    tmp_path: Path, library: str
) -> None:
    done = exported(tmp_path, library)

    normalization = done.card.normalization
    assert normalization is not None
    assert normalization.assumed == ("mean", "std")
    assert (normalization.mean, normalization.std) == IMAGENET
    assert any(
        hint.startswith("mean 0.485, 0.456, 0.406 and std") and "assumed" in hint
        for hint in done.hints
    )


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_mean_and_std_that_the_recipe_states_are_not_assumed(tmp_path: Path, library: str) -> None:
    pixels = {"mean": (0.5, 0.5, 0.5), "std": IMAGENET[1]}

    done = exported(tmp_path, library, pixels=pixels)

    assert done.card.normalization is not None
    assert done.card.normalization.assumed == ()
    assert not any(hint.startswith(("mean", "std")) for hint in done.hints)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_mean_and_std_of_three_channels_are_not_those_of_one(tmp_path: Path, library: str) -> None:
    module: nn.Module
    if library == "torchvision":
        source, module = "torchvision:squeezenet1_1", models.squeezenet1_1(num_classes=3)
        module.get_submodule("features").add_module("0", nn.Conv2d(1, 64, 3, stride=2))
    else:
        source = "timm:test_efficientnet"
        module = timm.create_model("test_efficientnet", num_classes=3, in_chans=1)
    torch.save(module.state_dict(), tmp_path / "gray.pth")

    done = export_to(tmp_path, source, **{"weights": "gray.pth", **SMALL})
    stated = export_to(
        tmp_path,
        source,
        **{"weights": "gray.pth", **SMALL, "pixels": {"mean": [0.2] * 3, "std": [0.3] * 3}},
    )

    normalization = done.card.normalization
    assert normalization is not None
    assert normalization.color == "gray"
    assert normalization.assumed == ("mean", "std")
    assert (normalization.mean, normalization.std) == ((0.0,), (1.0,))
    assert any(hint.startswith("mean 0 and std 1 are assumed") for hint in done.hints)
    assert stated.card.normalization is not None
    assert stated.card.normalization.assumed == ()
    assert (stated.card.normalization.mean, stated.card.normalization.std) == ((0.2,), (0.3,))
