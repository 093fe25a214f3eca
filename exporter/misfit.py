"""Why weights do not fit a network, with the names and the likely cause."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

_SHOWN = 5

_SPLIT = {
    "_g": ("weight_norm", "torch.nn.utils.remove_weight_norm(layer)"),
    "_u": ("spectral_norm", "torch.nn.utils.remove_spectral_norm(layer)"),
    "_mask": ("pruning", 'torch.nn.utils.prune.remove(layer, "weight")'),
}
"""What keeps a weight in parts, by the end of a part's name, and the call that makes one weight of them."""

_PARAMETRIZED = "parametrizations."


def explain_misfit(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
) -> str:
    """Return what a file and a network differ in, and the next step; "" where names and sizes are the same.

    Args:
        own: the network's weights.
        state: the file's, under the network's names as far as they could be found.
        missing: the network's names that the file lacks.
        unexpected: the file's names that the network lacks.
    """
    parts = _in_parts(own, state)
    if parts is not None:
        return parts
    sizes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if sizes:
        return _of_sizes(own, state, sorted(sizes, key=list(own).index))
    if not missing and not unexpected:
        return ""
    return (
        _listed("The file lacks", missing) + _listed(" The network has no", unexpected)
    ).strip() + _cause(own, state, missing, unexpected)


def _in_parts(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """Return what is said where only the file, or only the network, keeps a weight in parts; None where neither does.

    It comes before other sizes, since the parts have no place in the network whatever its number of classes is.
    """
    for names, others, here, there in (
        (state, own, "In the file", "the network"),
        (own, state, "In the network", "the file"),
    ):
        for name in names:
            found = None if name in others else _part_of(name, names)
            if found is None or found[0] not in others:
                continue
            weight, kind, call = found
            step = (
                f"Save the weights after {call}"
                if names is state
                else "Build the network without that (--arg, or a function of your own, python:module:function)"
            )
            return f"{here} {weight} is kept in parts ({name}), as {kind} does it; in {there} it is one weight. {step}"
    return None


def _part_of(name: str, names: Mapping[str, Tensor]) -> tuple[str, str, str] | None:
    """Return the weight that a name is a part of, what made the part, and the call that removes it."""
    if _PARAMETRIZED in name:
        layer, _, rest = name.partition(_PARAMETRIZED)
        weight = rest.partition(".")[0]
        call = f'torch.nn.utils.parametrize.remove_parametrizations(layer, "{weight}")'
        return f"{layer}{weight}", "a parametrization", call
    for end, (kind, call) in _SPLIT.items():
        weight = name.removesuffix(end)
        if weight != name and not names.keys().isdisjoint({f"{weight}_v", f"{weight}_orig"}):
            return weight, kind, call
    return None


def _of_sizes(own: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Sequence[str]) -> str:
    shown = "; ".join(
        f"size mismatch for {name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in names[:_SHOWN]
    )
    more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{shown}{more}. {_cause_of_sizes(own, state, names)}"


def _cause_of_sizes(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Sequence[str]
) -> str:
    def differ_in(axis: int) -> bool:
        return all(
            own[name].ndim == state[name].ndim > axis
            and own[name].shape[:axis] == state[name].shape[:axis]
            and own[name].shape[axis + 1 :] == state[name].shape[axis + 1 :]
            for name in names
        )

    first = names[0]
    reads_image = first == next(iter(own)) or (own[first].ndim == 4 and own[first].shape[1] == 3)
    if len(names) <= 2 and reads_image and differ_in(1):
        count = state[first].shape[1]
        return (
            f"The file's network reads {count} channels: give the argument for it with --arg, as in_chans={count}, "
            f"in_channels={count} or num_channels={count}. Where it has none, replace the first convolution in a "
            "function of your own, python:module:function"
        )
    if len(names) <= 4 and differ_in(0):
        count = state[first].shape[0]
        return (
            f"Has the network another number of classes? Give it with --arg, as num_classes={count}"
        )
    if any("pos" in name for name in names) and len(names) <= 2:
        return "The file is for another input size: give it with --arg, as img_size=384"
    return "The file is of another variant of the network: give its arguments with --arg NAME=VALUE, or its own name"


def _cause(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
) -> str:
    common = len(own.keys() & state.keys())
    if common * 10 < len(own):
        return (
            f" The file is of another network: its names begin with {_beginnings(state)}, the network's with "
            f"{_beginnings(own)}"
        )
    replaced = {name.partition(".")[0] for name in unexpected}
    if replaced and replaced == {name.partition(".")[0] for name in missing}:
        return (
            f" In the file its {', '.join(sorted(replaced))} is another part, as if it was replaced after the "
            "network was built: do the same in a function of your own, python:module:function"
        )
    if missing and not unexpected:
        return (
            f" The file is complete but for {_beginnings(missing)}: is it a backbone without its head? "
            "Build the network without it (--arg), or save the whole network"
        )
    if unexpected and not missing:
        return (
            f" The file has more than the network ({_beginnings(unexpected)}): is it of a variant, which "
            "--arg NAME=VALUE builds?"
        )
    return " Was it trained with another version of the code, or with other arguments (--arg NAME=VALUE)?"


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(sorted(names)[:_SHOWN])}{more}."


def _beginnings(names: Iterable[str]) -> str:
    first = dict.fromkeys(name.partition(".")[0] for name in names)
    more = ", …" if len(first) > _SHOWN else ""
    return ", ".join(list(first)[:_SHOWN]) + more
