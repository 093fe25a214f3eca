"""Files and folders as strangers have them are judged by content; every refusal names the next step."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter.errors import SourceError
from exporter.guessing.guess import guess
from tests.exporter.graphs import small_classifier

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about TorchScript


def network(path: Path) -> None:
    onnx.save(small_classifier(), path)


def weights(path: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), path)


def script(path: Path) -> None:
    torch.jit.script(nn.Linear(2, 3)).save(path)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        (network, "net.bin", "onnx"),
        (network, "net.pt", "onnx"),
        (network, "net", "onnx"),
        (script, "net.onnx", "torchscript"),
        (script, "net.pth", "torchscript"),
        (script, "net.pt2", "torchscript"),
    ],
)
def test_a_network_with_another_ending_is_taken_for_what_it_is(
    tmp_path: Path, make: Callable[[Path], None], name: str, kind: str
) -> None:
    make(tmp_path / name)

    assert guess(str(tmp_path / name), {}).source == f"{kind}:{tmp_path / name}"


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pth", "x")


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (weights, "net.onnx", "--weights"),
        (weights, "net.ts", "--weights"),
        (weights, "net", "--weights"),
        (lambda path: save_file({"w": torch.ones(2)}, path), "net.safetensors", "--weights"),
        (zipped, "net.zip", "Unpack it first"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00"), "net.onnx.gz", "Unpack it first"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0"), "net.jpg", "JPEG image"),
        (lambda path: path.write_text("<html></html>"), "net.onnx", "web page"),
        (lambda path: path.write_bytes(b"\x17\xd3\x00\x99" * 64), "net.xyz", "Write KIND:"),
    ],
)
def test_what_is_no_network_alone_gets_its_next_step(
    tmp_path: Path, make: Callable[[Path], object], name: str, words: str
) -> None:
    make(tmp_path / name)

    with pytest.raises(SourceError, match=words) as refused:
        guess(str(tmp_path / name), {})

    assert name in str(refused.value)


def folder_of(folder: Path, **files: Callable[[Path], object]) -> Path:
    """Make the files; two underscores in a name are a slash, one before the last word the dot of its ending."""
    for name, make in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return folder


def config(content: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(content), encoding="utf-8")


HUGGING = {"architectures": ["ViTForImageClassification"], "id2label": {"0": "a", "1": "b"}}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "Name the file of the network"),
        ({"a_jpg": lambda path: path.write_bytes(b"x")}, "Name the file of the network"),
        ({"runs__best_onnx": network}, r"Name what is inside it: .*runs/best\.onnx"),
        ({"checkpoints__best_ckpt": weights}, r"best\.ckpt contains weights.*--weights"),
        ({"a_onnx": network, "b_onnx": network}, r"several networks: a\.onnx, b\.onnx"),
        ({"f0_pth": weights, "f1_pth": weights}, r"several files of weights: f0\.pth, f1\.pth"),
        ({"net_xml": config({}), "net_bin": lambda path: path.write_bytes(b"x")}, "OpenVINO"),
        ({"net_keras": lambda path: path.write_bytes(b"PK")}, "Convert it with Keras"),
        ({"config_json": config({"hello": 1})}, "no config.json of Transformers or timm"),
    ],
)
def test_a_folder_without_one_network_gets_its_next_step(
    tmp_path: Path, files: dict[str, Callable[[Path], object]], words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        guess(str(folder_of(tmp_path, **files)), {})


def test_an_onnx_export_beside_a_config_without_weights_is_taken_with_its_labels(
    tmp_path: Path,
) -> None:
    folder_of(tmp_path, config_json=config(HUGGING), onnx__model_onnx=network)

    found = guess(str(tmp_path), {})

    assert found.source == f"onnx:{tmp_path / 'onnx/model.onnx'}"
    assert found.values["labels"] == str(tmp_path / "config.json")


def test_a_config_with_weights_is_transformers(tmp_path: Path) -> None:
    folder_of(
        tmp_path,
        config_json=config(HUGGING),
        onnx__model_onnx=network,
        model_safetensors=lambda path: save_file({"w": torch.ones(2)}, path),
    )

    assert guess(str(tmp_path), {}).source == f"transformers:{tmp_path}"


@pytest.mark.parametrize("source", ["torchvision:resnet18", "timm:resnet18", "python:a:b"])
def test_labels_beside_a_file_of_weights_are_taken(tmp_path: Path, source: str) -> None:
    weights(tmp_path / "model.pth")
    (tmp_path / "labels.txt").write_text("a\nb\n", encoding="utf-8")

    found = guess(source, {"weights": str(tmp_path / "model.pth")})

    assert found.values["labels"] == str(tmp_path / "labels.txt")
    assert "labels" not in guess(source, {"weights": "none"}).values
