"""Trained weights, read from files without running code, into a module that they must fit."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from exporter.errors import WeightsError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "net")
"""The keys under which training scripts keep the state dict inside a checkpoint."""

_SHOWN = 5


def load_weights(module: nn.Module, path: Path, unused: tuple[str, ...] = ()) -> None:
    """Load a .safetensors file, or a .pt or .pth file with a state dict, into a module; every key must fit.

    Args:
        module: gets the weights.
        path: the file.
        unused: keys with these beginnings belong to parts that are used in training alone, and are left out.

    Raises:
        WeightsError: the file is damaged, can only be read by running code, or has other keys than the module.
    """
    state = {name: value for name, value in _read(path).items() if not name.startswith(unused)}
    missing = sorted(module.state_dict().keys() - state.keys())
    unexpected = sorted(state.keys() - module.state_dict().keys())
    if missing or unexpected:
        raise WeightsError(
            f"--weights {path.name} does not fit the network."
            + _listed(" The file lacks", missing)
            + _listed(" The network has no", unexpected)
        )
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = " ".join(line.strip() for line in str(error).splitlines()[1 : _SHOWN + 1])
        raise WeightsError(f"--weights {path.name} does not fit the network. {detail}") from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(
            f"--weights {path.name} is no valid safetensors file: {error}"
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"--weights {path.name} is refused: it holds pickled objects other than tensors, and reading those runs "
            "code. Save the state dict alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise WeightsError(f"--weights {path.name} can not be read: {error}") from error
    return _state_dict(content, path)


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict):
        for wrapper in _WRAPPERS:
            if isinstance(inner := content.get(wrapper), dict):
                content = inner
                break
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise WeightsError(f"--weights {path.name} holds no state dict (names and tensors)")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{what} {', '.join(keys[:_SHOWN])}{more}."
