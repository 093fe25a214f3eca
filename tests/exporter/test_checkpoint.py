"""A file of weights is read whatever its name ends in, and what is none is named."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from exporter.checkpoint import read_checkpoint
from exporter.errors import WeightsError
from tests.exporter.checkpoints import Runs, save_pickle

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about formats of files

STATE = {"a.w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])}
ARRAYS: dict[str, Any] = {name: value.numpy() for name, value in STATE.items()}

WRITERS: dict[str, Callable[[Path], object]] = {
    "torch.save": lambda path: torch.save(STATE, path),
    "torch.save, older": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: save_file(STATE, path),
    "pickle.dump": lambda path: save_pickle(ARRAYS, path, 4),
    "pickle.dump, oldest": lambda path: save_pickle(ARRAYS, path, 0),
    "numpy.savez": lambda path: np.savez(path.open("wb"), **ARRAYS),
}


@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w"])
def test_weights_are_read_by_what_the_file_is(how: str, name: str, tmp_path: Path) -> None:
    WRITERS[how](tmp_path / name)

    found = read_checkpoint(tmp_path / name)

    assert found.path == tmp_path / name
    (state,) = found.states
    assert {key: value.tolist() for key, value in state.state.items()} == {
        "a.w": [[1.0, 2.0]],
        "b": [3.0],
    }


def test_arrays_of_python_2_are_read(tmp_path: Path) -> None:
    """Detectron's and Caffe2's files: names and bytes are texts of 8 bits."""
    array = pickle.dumps({"w": np.array([1.0, 200.0], np.float32)}, protocol=2)
    (tmp_path / "w.pkl").write_bytes(array)

    (state,) = read_checkpoint(tmp_path / "w.pkl").states

    assert state.state["w"].tolist() == [1.0, 200.0]


def test_the_likely_state_of_several_comes_first(tmp_path: Path) -> None:
    torch.save({"optimizer": {"m": torch.ones(1)}, "model": STATE, "epoch": 3}, tmp_path / "w.pt")

    assert [one.where for one in read_checkpoint(tmp_path / "w.pt").states] == [
        "model",
        "optimizer",
    ]


def truncated_safetensors(path: Path) -> None:
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-4])


def wrong_header(path: Path) -> None:
    header = b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def damaged_pickle(path: Path) -> None:
    save_pickle(ARRAYS, path, 4)
    path.write_bytes(path.read_bytes()[:-30])


def damaged_zip(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K")
        archive.writestr("w/version", "3\n")
    path.write_bytes(buffer.getvalue())


def part_of_unpacked(path: Path) -> None:
    """A data.pkl alone names its numbers, which lie in other files."""
    torch.save(STATE, path)
    with zipfile.ZipFile(path) as archive:
        inner = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    path.write_bytes(inner)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (truncated_safetensors, r"w\.pt is (no valid safetensors file|truncated)"),
        (wrong_header, r"w\.pt is no valid safetensors file: .*Download or save it again"),
        (damaged_pickle, r"w\.pt is truncated, damaged, or no file of torch\.save"),
        (damaged_zip, r"w\.pt is truncated, damaged, or no file of torch\.save"),
        (part_of_unpacked, "w.pt is a part of an unpacked file of torch.save, without its numbers"),
        (lambda path: path.write_bytes(b""), r"w\.pt is empty"),
        (lambda path: path.write_bytes(b"<html></html>"), r"w\.pt is a web page"),
        (
            lambda path: torch.save(Runs((eval, ("1",))), path),
            r"w\.pt is refused: it holds a call of builtins\.eval, and reading that runs code",
        ),
        (
            lambda path: torch.save({"epoch": 3, "lr": 1}, path),
            r"no state dict \(names and tensors\); it holds epoch, lr\. Save one",
        ),
        (lambda path: torch.save({str(i): i for i in range(7)}, path), r"it holds 0, 1, 2, 3, 4\. Save"),
        (lambda path: torch.save([1], path), r"it holds a list\. Save one: torch\.save\(model\.state_dict"),
        (lambda path: torch.save({}, path), r"it holds a dict\. Save"),
    ],
)  # fmt: skip
def test_what_holds_no_weights_is_named(
    write: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "w.pt")

    with pytest.raises(WeightsError, match=message):
        read_checkpoint(tmp_path / "w.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"--weights w\.pt can not be read: No such file"):
        read_checkpoint(tmp_path / "w.pt")
