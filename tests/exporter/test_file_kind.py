"""What a file is instead of what its name says."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from exporter.checkpoint import read_checkpoint
from exporter.errors import SourceError, WeightsError
from exporter.file_kind import file_kind
from exporter.guessing.guess import guess
from exporter.sources.found_graph import read_file
from tests.exporter.checkpoints import Norms, norms
from tests.exporter.nets import conv_onnx

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, while it scripts and exports

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32"
    b"b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def torch_bytes(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pt"))
    return buffer.getvalue()


WHOLE = torch_bytes(norms(1.0).state_dict())
LEGACY = torch_bytes(norms(1.0).state_dict(), zipped=False)

OTHERS: dict[str, tuple[bytes, str]] = {
    "LFS pointer": (POINTER, "is a Git LFS pointer, not the file itself.*git lfs pull"),
    "page": (b"<!DOCTYPE html><html><title>Sign in</title>", r"is a web page \(HTML\)"),
    "page after blanks": (b"\xef\xbb\xbf\r\n <HTML lang=en>", r"is a web page \(HTML\)"),
    "error of a server": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "is a web page"),
    "JSON": (b'{"message": "Not Found"}', r'is text, which begins with .*Not Found'),
    "path": (b"../weights/best.pt\n", "is text, which begins with '../weights/best.pt'"),
    "empty": (b"", "is empty"),
    "zeros": (bytes(5000), "is 5000 bytes that begin with zeros alone.*cut off"),
    "truncated zip": (WHOLE[: len(WHOLE) // 2], "is truncated or damaged"),
    "truncated legacy": (LEGACY[: len(LEGACY) // 2], "is truncated, damaged"),
    "truncated at its end": (LEGACY[:-8], "is truncated, damaged"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as Keras writes it.*onnx:FILE"),
    "Keras 3": (zip_of("model.weights.h5"), "is a Keras file"),
    "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3" + bytes(99), "is a TensorFlow Lite file"),
    "ONNX": (conv_onnx([-1, 64]).SerializeToString(), "is an ONNX file.*onnx:FILE"),
    "gzip": (gzip.compress(WHOLE), "is a gzip archive. Unpack"),
    "tar": (tar(), "is a tar archive. Unpack"),
    "zip": (zip_of("best.pt"), "is a ZIP archive without weights.*Unpack"),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(99), "is a single NumPy array"),
    "GGUF": (b"GGUF\x03\x00\x00\x00", "is a GGUF file"),
    "noise": (b"\x17\xd3\x00\x99" * 64, "is of no known format"),
    "index": (b'{"metadata": {}, "weight_map": {"a": "model-00001.safetensors"}}', "is the index of a checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_what_is_no_weights_is_named(name: str, ending: str, tmp_path: Path) -> None:
    content, message = OTHERS[name]
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"--weights w\.{ending} {message}"):
        read_checkpoint(path)


def test_a_truncated_safetensors_file_is_recognized_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(norms(1.0).state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match=f"truncated: its header states {len(whole)} bytes"):
        read_checkpoint(path)
    path.write_bytes(whole[:50])
    with pytest.raises(WeightsError, match="is a truncated safetensors file"):
        read_checkpoint(path)


def test_networks_with_their_code_name_their_source(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"is a TorchScript\. Use it as a source: torchscript:FILE"
    ):
        read_checkpoint(tmp_path / "w.pt")
    torch.export.save(torch.export.export(Norms(), (torch.rand(1, 3, 8, 8),)), tmp_path / "w.pt2")
    with pytest.raises(WeightsError, match=r"is a program of torch\.export.*program:FILE"):
        read_checkpoint(tmp_path / "w.pt2")


@pytest.mark.parametrize("producer", [None, "pytorch"])
def test_an_onnx_file_is_known_with_and_without_a_producer(
    producer: str | None, tmp_path: Path
) -> None:
    model = conv_onnx([-1, 64])
    model.producer_name = producer or ""
    onnx.save(model, tmp_path / "net.pt")
    assert file_kind(tmp_path / "net.pt").kind == "onnx"


def test_weights_are_known_by_their_bytes_alone(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(WHOLE)
    (tmp_path / "b.bin").write_bytes(LEGACY)
    save_file({"a": torch.from_numpy(np.ones(3))}, tmp_path / "c.bin")
    assert [file_kind(tmp_path / f"{name}.bin").kind for name in "abc"] == [
        "torch",
        "pickle",
        "safetensors",
    ]


WRONG = [
    (POINTER, "is a Git LFS pointer"),
    (b"<!DOCTYPE html><html><head>", "is a web page"),
    (b"", "is empty"),
]


@pytest.mark.parametrize(("content", "what"), WRONG)
@pytest.mark.parametrize("name", ["net.onnx", "net.pt"])
def test_a_source_that_is_something_else_is_named(
    name: str, content: bytes, what: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name} {what}"):
        guess(str(tmp_path / name), {})


@pytest.mark.parametrize(("content", "what"), WRONG)
def test_an_onnx_file_of_a_recipe_is_named_too(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(SourceError, match=rf"net\.onnx {what}"):
        read_file(tmp_path / "net.onnx")


def test_a_file_of_joblib_is_named_as_one(tmp_path: Path) -> None:
    """The first bytes are those of joblib.dump({"w": numpy.ones(2)})."""
    path = tmp_path / "weights.pt"
    path.write_bytes(
        b"\x80\x04\x95\xd7\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01w\x94\x8c\x13joblib.numpy_pickle\x94"
        b"\x8c\x11NumpyArrayWrapper\x94\x93\x94)\x81\x94}\x94"
    )

    found = file_kind(path)

    assert (found.kind, found.is_weights) == ("other", False)
    assert "joblib" in found.what
    assert "numpy.savez" in found.advice
