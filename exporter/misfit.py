"""Why weights do not fit a network, with the names and the likely cause."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

_SHOWN = 5


def explain_misfit(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
) -> str:
    """Return what a file and a network differ in, and the next step.

    Args:
        own: the network's weights.
        state: the file's, under the network's names as far as they could be found.
        missing: the network's names that the file lacks.
        unexpected: the file's names that the network lacks.
    """
    sizes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if sizes:
        return _of_sizes(own, state, sorted(sizes, key=list(own).index))
    return (
        _listed("The file lacks", missing) + _listed(" The network has no", unexpected)
    ).strip() + _cause(own, state, missing, unexpected)


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
    if len(names) <= 2 and first == next(iter(own)) and differ_in(1):
        count = state[first].shape[1]
        return f"The file's network reads {count} channels: give the argument for it with --arg, as in_chans={count}"
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
