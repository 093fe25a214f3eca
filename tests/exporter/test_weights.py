"""Weights from files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter.errors import WeightsError
from exporter.weights import load_weights


def linear(value: float) -> nn.Linear:
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, value)
    return layer


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_state_dict_is_found_inside_a_checkpoint(
    tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    state = {prefix + name: value for name, value in linear(3.0).state_dict().items()}
    torch.save({wrapper: state, "epoch": 7} if wrapper else state, tmp_path / "w.pt")
    layer = linear(0.0)

    load_weights(layer, tmp_path / "w.pt")

    assert layer.weight.tolist() == [[3.0, 3.0]]


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(linear(3.0).state_dict(), tmp_path / "w.safetensors")
    layer = linear(0.0)
    load_weights(layer, tmp_path / "w.safetensors")
    assert layer.bias.tolist() == [3.0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"nothing", "no valid safetensors"),
        ("w.pt", b"", "can not be read"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(linear(0.0), tmp_path / name)


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no state dict"):
        load_weights(linear(0.0), tmp_path / "w.pt")


def test_missing_and_unexpected_keys_are_named_a_few_of_them(tmp_path: Path) -> None:
    strangers = {f"stranger_{index}": torch.zeros(1) for index in range(7)}
    torch.save({"weight": torch.zeros(1, 2), **strangers}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"lacks bias\..*no stranger_0.* and 2 more"):
        load_weights(linear(0.0), tmp_path / "w.pt")


def test_another_shape_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="size mismatch for weight"):
        load_weights(linear(0.0), tmp_path / "w.pt")
