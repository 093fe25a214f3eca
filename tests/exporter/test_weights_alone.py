"""A file of weights as the source: the message names what is in it and the next step, and nothing is loaded."""

import argparse
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models import squeezenet1_1

from exporter.errors import SourceError
from exporter.guessing.guess import guess
from exporter.weights_alone import pickled_class
from tests.exporter.nets import Small

OWN = f"{Small.__module__}.Small"


def older(path: Path) -> None:
    torch.save(Small(), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "save",
    [
        lambda path: torch.save(Small(), path),
        older,
        lambda path: torch.save({"model": Small(), "epoch": 3}, path),
        lambda path: torch.save(nn.DataParallel(Small()), path),
        lambda path: torch.save(AveragedModel(Small()), path),
        lambda path: path.write_bytes(pickle.dumps(Small(), protocol=0)),
        lambda path: path.write_bytes(pickle.dumps(nn.DataParallel(Small()), protocol=5)),
    ],
    ids=["module", "older form", "checkpoint", "parallel", "averaged", "protocol 0", "protocol 5"],
)
@pytest.mark.parametrize("kind", ["", "torchscript:", "program:", "onnx:"])
def test_a_whole_module_is_named_by_its_class(
    save: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt"
    save(path)

    with pytest.raises(SourceError) as caught:
        guess(f"{kind}{path}", {})

    words = str(caught.value)
    assert f"{path} holds a whole network of the class {OWN}" in words
    assert f"python:{Small.__module__}:Small --weights {path}, with --arg" in words
    assert "torch.export.save" in words


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (squeezenet1_1, "Name the network: torchvision:NAME --weights"),
        (lambda: nn.Sequential(nn.Flatten(), Small()), "python:module:function --weights"),
    ],
)
def test_the_step_fits_where_the_class_comes_from(
    make: Callable[[], nn.Module], words: str, tmp_path: Path
) -> None:
    torch.save(make(), tmp_path / "net.pt")

    with pytest.raises(SourceError, match=words):
        guess(str(tmp_path / "net.pt"), {})


def test_a_class_of_a_script_has_no_module_that_could_be_given(tmp_path: Path) -> None:
    path = tmp_path / "net.pkl"
    path.write_bytes(
        pickle.dumps(Small(), protocol=2).replace(f"c{Small.__module__}\n".encode(), b"c__main__\n")
    )

    with pytest.raises(
        SourceError,
        match=r"Give the Python file that defines Small, .* python:FILE:Small --weights",
    ):
        guess(str(path), {})


class Alarm:
    """A value whose pickle calls a function."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return exec, ("raise RuntimeError('code of the file ran')",)


@pytest.mark.parametrize("kind", ["", "onnx:", "program:"])
def test_nothing_in_the_file_runs(kind: str, tmp_path: Path) -> None:
    module = Small()
    module.alarm = Alarm()  # type: ignore[assignment]
    torch.save(module, tmp_path / "net.pt")

    with pytest.raises(SourceError, match="holds a whole network"):
        guess(f"{kind}{tmp_path / 'net.pt'}", {})


def test_a_damaged_archive_names_no_class(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", pickle.dumps(Small()))
    whole = path.read_bytes()
    assert pickled_class(path) == OWN

    for begin in range(42, 400, 7):
        path.write_bytes(whole[:begin] + b"\xff" * 40 + whole[begin + 40 :])
        assert pickled_class(path) in {OWN, None}


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (
            {"arch": "resnet18"},
            "The file says arch resnet18, which may be timm:resnet18 or torchvision:resnet18. ",
        ),
        (
            {"args": argparse.Namespace(lr=0.1, model="resnet18")},
            "The file says model resnet18, which may be timm:resnet18 or torchvision:resnet18. ",
        ),
        (
            {"hyper_parameters": {"model_name": "vit_tiny.augreg"}},
            "The file says model_name vit_tiny.augreg, which may be timm:vit_tiny.augreg. ",
        ),
        ({"arch": "Unet"}, "The file says arch Unet. "),
        ({"arch": None, "epoch": 3}, "not the network. Name the network too"),
        ({"model": {"arch.weight": torch.zeros(1)}}, "not the network. Name the network too"),
    ],
)
@pytest.mark.parametrize("is_older", [False, True])
def test_the_name_of_the_network_beside_weights_is_said(
    beside: dict[str, object], words: str, tmp_path: Path, *, is_older: bool
) -> None:
    path = tmp_path / "last.pth"
    content = {"epoch": 1, "state_dict": Small().state_dict(), **beside}
    torch.save(content, path, _use_new_zipfile_serialization=not is_older)

    with pytest.raises(SourceError) as caught:
        guess(str(path), {})

    assert words in str(caught.value)
