"""Files of weights as training scripts leave them behind."""

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Norms(nn.Module):
    """A convolution, a batch norm and a linear layer over three classes."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.body(pixels).mean((2, 3)))
        return logits


def norms(value: float, num_classes: int = 3) -> Norms:
    """Return the network with every weight set to a value."""
    module = Norms(num_classes)
    with torch.no_grad():
        for one in module.state_dict().values():
            one.fill_(value)
    return module


def norms_with(state: Mapping[str, Tensor]) -> Norms:
    module = norms(0.0)
    module.load_state_dict(state)
    return module


def prefixed(prefix: str) -> Callable[[Mapping[str, Tensor]], dict[str, Any]]:
    return lambda state: {prefix + name: value for name, value in state.items()}


def averaged(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return dict(AveragedModel(norms_with(state)).state_dict())


FORMS: dict[str, Callable[[Mapping[str, Tensor]], Any]] = {
    "plain": dict,
    "module.": prefixed("module."),
    "_orig_mod.": prefixed("_orig_mod."),
    "_orig_mod.module.": prefixed("_orig_mod.module."),
    "module._orig_mod.": prefixed("module._orig_mod."),
    "Lightning": lambda state: {
        "state_dict": prefixed("model.")(state) | {"loss.weight": torch.ones(3)},
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning over torch.compile": lambda state: {"state_dict": prefixed("net._orig_mod.")(state)},
    "DataParallel inside": lambda state: {
        name.replace("body.", "body.module."): value for name, value in state.items()
    },
    "torch.compile inside": lambda state: {
        name.replace("body.", "body._orig_mod."): value for name, value in state.items()
    },
    "AveragedModel": averaged,
    "averaged beside": lambda state: {
        "model": norms(9.0).state_dict(),
        "ema_state_dict": dict(state),
    },
    "timm's averaged": lambda state: {
        "arch": "net",
        "state_dict": norms(9.0).state_dict(),
        "state_dict_ema": dict(state),
    },
    "params_ema": lambda state: {"params": norms(9.0).state_dict(), "params_ema": dict(state)},
    "net": lambda state: {"net": dict(state), "acc": 91.2, "epoch": 3},
    "nested": lambda state: {"checkpoint": {"model": {"state_dict": dict(state)}}},
    "beside an optimizer": lambda state: {
        "model": dict(state),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": []},
    },
    "a Namespace beside": lambda state: {
        "state_dict": dict(state),
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
    },
    "no counters": lambda state: {
        name: value for name, value in state.items() if "num_batches_tracked" not in name
    },
    "counters of a profiler": lambda state: (
        dict(state) | {"total_ops": torch.zeros(1), "fc.total_params": torch.zeros(1)}
    ),
    "fp16": lambda state: {name: value.half() for name, value in state.items()},
    "bf16": lambda state: {name: value.bfloat16() for name, value in state.items()},
    "an ordered dict with versions": OrderedDict,
    "a whole module": norms_with,
    "a whole module beside": lambda state: {"epoch": -1, "model": norms_with(state).half()},
}
"""By name, what a training saves, from the state dict of the network that it trained."""


class Runs:
    """Its pickle asks for a call."""

    def __init__(self, call: tuple[Any, tuple[Any, ...]]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def save_pickle(content: object, path: Path, protocol: int) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=protocol)
