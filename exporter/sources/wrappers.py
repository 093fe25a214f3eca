"""Wrappers around a network that a training or a compiler needs and an export does not."""

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the network inside torch.compile, DataParallel or an averaged model; its parts are freed alike."""
    module = _inner(module)
    for owner in list(module.modules()):
        if isinstance(owner, torch.jit.ScriptModule):
            continue
        vars(owner).pop("_compiled_call_impl", None)  # of module.compile()
        for name, part in list(owner.named_children()):
            if (inner := _inner(part)) is not part:
                setattr(owner, name, inner)
    return module


def _inner(module: nn.Module) -> nn.Module:
    while True:
        if isinstance(module, torch.jit.ScriptModule):
            return module
        inner = vars(module)["_modules"].get("_orig_mod")
        if inner is None and isinstance(module, _WRAPPERS):
            inner = module.module
        if inner is None:
            return module
        module = inner
