"""Trained weights from a file into a module that they must fit."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from exporter.checkpoint import Checkpoint, read_checkpoint
from exporter.errors import WeightsError
from exporter.misfit import explain_misfit
from exporter.progress import Progress, SilentProgress
from exporter.state_dict import IGNORED, WRAPPED, Found, own_prefix, prefix_of, with_own_names
from exporter.weight_choice import Fit, chosen, with_parts

Adapt = Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]]
"""Turns a state dict of another library's names into the module's, as timm's `checkpoint_filter_fn`."""

AUXILIARY = ("aux_classifier.",)
"""Parts of segmentation networks that only training uses."""

_SHOWN = 5


def load_weights(
    module: nn.Module,
    source: Path | Checkpoint,
    unused: tuple[str, ...] = (),
    progress: Progress | None = None,
    adapt: Adapt | None = None,
) -> None:
    """Load a file's state dict into a module; every key must fit.

    Weights in 16 bits become float32. Counters, such as `num_batches_tracked`, may be missing or left over.

    Args:
        module: gets the weights.
        source: the file, or what was read from it.
        unused: keys with these beginnings belong to parts that are used in training alone, and are left out.
        progress: gets a note of what was found under another name or left out.
        adapt: renames what does not fit otherwise.

    Raises:
        WeightsError: the file is damaged, can only be read by running code, or has other keys than the module.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    found, state = choose_state(module, checkpoint, adapt)
    known = module.state_dict().keys()
    dropped = [
        name
        for name in state
        if name not in known and (name.startswith((*unused, *AUXILIARY)) or IGNORED.search(name))
    ]
    for name in dropped:
        del state[name]
    misfit = _loaded(module, state)
    if misfit is not None:
        raise WeightsError(f"--weights {checkpoint.path.name} does not fit the network. {misfit}")
    _refuse_no_numbers(module, checkpoint.path)
    _say(progress or SilentProgress(), checkpoint, found, module, dropped)


def choose_state(
    module: nn.Module, checkpoint: Checkpoint, adapt: Adapt | None = None
) -> tuple[Found, OrderedDict[str, Tensor]]:
    """Return the state dict that has most of the module's names, and its weights under these names.

    Raises:
        WeightsError: several different ones fit, and none of them is the averaged one.
    """
    expected = module.state_dict()
    best: list[Fit] = []
    least = (len(expected) + 1, 0)
    for found in with_parts(checkpoint.states, expected):
        state = with_own_names(found.state, expected)
        lacking = _lacking(state, expected)
        if lacking and adapt is not None:
            adapted = _adapted(state, module, adapt)
            if (fewer := _lacking(adapted, expected)) < lacking:
                state, lacking = adapted, fewer
        fit = lacking, _of_other_shapes(state, expected)
        if fit < least:
            best, least = [], fit
        if fit == least:
            best.append((found, state))
    return chosen(best, checkpoint.path.name) if least[0] == 0 else best[0]


def _of_other_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int:
    return sum(
        1 for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape
    )


def _lacking(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int:
    return sum(1 for name in expected.keys() - state.keys() if not IGNORED.search(name))


def _adapted(
    state: OrderedDict[str, Tensor], module: nn.Module, adapt: Adapt
) -> OrderedDict[str, Tensor]:
    # The function is made for known files; on others it may fail in any way, and then does not apply.
    try:
        return OrderedDict(adapt(dict(state), module))
    except Exception:  # noqa: BLE001
        return state


def _loaded(module: nn.Module, state: OrderedDict[str, Tensor]) -> str | None:
    """Load the weights; return why they do not fit, or None."""
    own = module.state_dict()
    if not hasattr(state, "_metadata"):
        # Without the versions of the layers' formats PyTorch would take the oldest ones.
        vars(state)["_metadata"] = vars(own).get("_metadata")
    for name, value in state.items():
        if value.is_quantized:
            state[name] = value.dequantize()
        elif name in own and own[name].is_floating_point() and not value.is_floating_point():
            return f"{name} holds whole numbers ({value.dtype}), not weights: it is quantized"
    try:
        with torch.no_grad():
            result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        return explain_misfit(own, state) or str(error).splitlines()[-1].strip()
    shared = {own[name].data_ptr() for name in own.keys() & state.keys()}
    missing = [
        name
        for name in result.missing_keys
        if not IGNORED.search(name) and own[name].data_ptr() not in shared
    ]
    if not missing and not result.unexpected_keys:
        return None
    return explain_misfit(own, state, missing, list(result.unexpected_keys))


def _refuse_no_numbers(module: nn.Module, path: Path) -> None:
    for name, value in module.named_parameters():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"--weights {path.name}: {name} has values that are no numbers (NaN or infinity). "
                "Give the weights of an earlier epoch"
            )
    for name, held in module.named_buffers():
        # A mask may be infinite; statistics of a batch norm that are no numbers make every result NaN.
        if held.is_floating_point() and torch.isnan(held).any():
            raise WeightsError(
                f"--weights {path.name}: {name} has values that are no numbers (NaN). "
                "Give the weights of an earlier epoch"
            )


def _say(
    progress: Progress,
    checkpoint: Checkpoint,
    found: Found,
    module: nn.Module,
    dropped: list[str],
) -> None:
    """Note what was taken from the file, where it is not simply all of it."""
    expected = module.state_dict()
    added = _added_prefix(found.state, expected)
    inner = {name.removeprefix(added): value for name, value in expected.items()}
    prefix = prefix_of(found.state, inner)
    others = list(found.beside) or [
        one.where for one in checkpoint.states if one.keys and one is not found
    ]
    notes = []
    if found.keys and others:
        notes.append(f"{found.where} is taken, not {', '.join(others[:_SHOWN])}")
    if added:
        notes.append(f"they are those of the part {added.rstrip('.')} of the network")
    if prefix:
        notes.append(f"the prefix {prefix} is removed")
        outside = [name for name in found.state if not name.startswith(prefix)]
        dropped = [*dropped, *(name for name in outside if not IGNORED.search(name))]
    left = sorted({name.partition(".")[0] for name in dropped if not IGNORED.search(name)})
    if left:
        notes.append(f"{', '.join(left[:_SHOWN])} is left out, since the network has no such part")
    if notes:
        progress.warn(f"--weights {checkpoint.path.name}: " + "; ".join(notes))


def _added_prefix(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Return the network's own prefixes that the names of a file lack; empty for none."""
    added = ""
    while (prefix := own_prefix(expected)) and not (
        prefix_of(found, expected) or any(WRAPPED.sub("", name) in expected for name in found)
    ):
        added += prefix
        expected = {name.removeprefix(prefix): value for name, value in expected.items()}
    return added
