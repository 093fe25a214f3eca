"""`program:` and `torchscript:` sources: what they state of their input, and files that are something else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporter.errors import GraphError, SourceError
from exporter.network import Network
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sources.registry import load_network
from tests.exporter.nets import SIDE, Small, small

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces and scripts
]
DYNAMIC = torch.export.Dim.DYNAMIC


class ChannelsLast(nn.Module):
    """Reads images with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.net(pixels.permute(0, 3, 1, 2))
        return logits


def loaded(folder: Path, source: str, **fields: Any) -> Network:
    content = {"source": source, "name": "net", "task": "classify", "folder": folder, **fields}
    return load_network(make_recipe(content), SilentProgress())


def save_program(module: nn.Module, shape: tuple[int, ...], path: Path, **free: Any) -> None:
    axes = free.get("axes", {0: DYNAMIC})
    program = torch.export.export(module.eval(), (torch.rand(shape),), dynamic_shapes=(axes,))
    torch.export.save(program, path)


def test_a_gray_program_reads_gray_images(tmp_path: Path) -> None:
    save_program(small(1), (2, 1, SIDE, SIDE), tmp_path / "net.pt2")
    network = loaded(tmp_path, "program:net.pt2")
    assert (network.pixels.color, network.image_input.height) == ("gray", SIDE)


def test_a_gray_script_reads_gray_images(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(small(1)), tmp_path / "net.ts")
    size = {"height": SIDE, "width": SIDE}
    assert loaded(tmp_path, "torchscript:net.ts", input=size).pixels.color == "gray"


def test_a_program_with_the_channels_last_asks_for_the_layout(tmp_path: Path) -> None:
    save_program(ChannelsLast(), (2, SIDE, SIDE, 3), tmp_path / "net.pt2")
    with pytest.raises(SourceError, match="give --layout NHWC"):
        loaded(tmp_path, "program:net.pt2")
    network = loaded(tmp_path, "program:net.pt2", pixels={"layout": "NHWC"})
    assert (network.image_input.height, network.image_input.width) == (SIDE, SIDE)
    values = np.random.default_rng(1).random((3, SIDE, SIDE, 3), np.float32)
    with torch.inference_mode():
        right = small()(torch.from_numpy(values).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(network.reference.run(values)[0], right, atol=1e-6)


def test_a_program_of_a_free_size_takes_the_stated_one(tmp_path: Path) -> None:
    axes = {0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC}
    save_program(Small(), (2, 3, SIDE, SIDE), tmp_path / "net.pt2", axes=axes)
    network = loaded(tmp_path, "program:net.pt2", input={"height": 48, "width": 40})
    assert (network.image_input.height, network.image_input.width) == (48, 40)


class Standardized(nn.Module):
    """Standardizes its weights by a batch norm, as timm does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.classifier = nn.Linear(8, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        rows = self.conv.weight.reshape(1, 8, -1)
        weight = nn.functional.batch_norm(rows, None, None, training=True)
        maps = nn.functional.conv2d(pixels, weight.reshape_as(self.conv.weight), stride=2)
        logits: Tensor = self.classifier(maps.mean((2, 3)))
        return logits


@pytest.mark.parametrize("module", [nn.BatchNorm2d(3), nn.Dropout(0.5)])
def test_a_program_in_training_mode_is_refused_as_that(module: nn.Module, tmp_path: Path) -> None:
    net = nn.Sequential(module, small())
    net[1].eval()
    program = torch.export.export(
        net, (torch.rand(2, 3, SIDE, SIDE),), dynamic_shapes=({0: DYNAMIC},)
    )
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(GraphError, match=r"net\.pt2: .*in training mode.*model\.eval\(\)"):
        loaded(tmp_path, "program:net.pt2")


def test_weights_that_a_batch_norm_standardizes_are_no_training(tmp_path: Path) -> None:
    save_program(Standardized(), (2, 3, SIDE, SIDE), tmp_path / "net.pt2")
    assert loaded(tmp_path, "program:net.pt2").raw


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (
            "program",
            "weights",
            r"net is a file of torch\.save, with weights and no code.*--weights",
        ),
        ("torchscript", "weights", r"net is a file of torch\.save, with weights and no code"),
        ("torchscript", "program", r"net is not a TorchScript: it is a program .*program:FILE"),
        ("program", "script", r"net is not a program of torch\.export: it is a TorchScript"),
        ("program", b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        ("torchscript", b"<html>", "it is a web page"),
        ("torchscript", b"", "it is empty"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(
    kind: str, content: bytes | str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net"
    if content == "weights":
        torch.save(small().state_dict(), path)
    elif content == "script":
        torch.jit.save(torch.jit.script(small()), path)
    elif content == "program":
        save_program(small(), (2, 3, SIDE, SIDE), path.with_suffix(".pt2"))
        path.with_suffix(".pt2").rename(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        loaded(tmp_path, f"{kind}:net", input={"height": SIDE, "width": SIDE})
