"""Several sets of weights in one file fit a network: the averaged one is taken, or the user must say which."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from exporter.errors import WeightsError
from exporter.state_dict import IGNORED, WRAPPED, Found, is_averaged, is_unlikely

Fit = tuple[Found, OrderedDict[str, Tensor]]
"""What was found, and its weights under the network's names."""


def with_parts(states: Sequence[Found], expected: Mapping[str, Tensor]) -> Iterator[Found]:
    """Yield what was found; a state dict that holds the network under several prefixes becomes one for each."""
    for found in states:
        parts = _parts(found, expected)
        yield from parts if len(parts) > 1 else (found,)


def chosen(fits: Sequence[Fit], file: str) -> Fit:
    """Return the weights to take of several that have all of a network's names, in order of preference.

    Raises:
        WeightsError: they differ, and none or several of them are averaged.
    """
    likely = [fit for fit in fits if not is_unlikely(fit[0].keys)] or list(fits)
    averaged = [fit for fit in likely if is_averaged(fit[0].keys)]
    left = averaged or likely
    different = [left[0], *(fit for fit in left[1:] if not _are_same(fit[1], left[0][1]))]
    if len(different) == 1:
        return left[0]
    names = [fit[0].where or "the names without a prefix" for fit in different]
    raise WeightsError(
        f"--weights {file} holds several sets of weights that fit the network: {', '.join(names)}. Which one was "
        f"trained for this task can not be known. Save it alone{_how(different[-1][0])}"
    )


def _how(found: Found) -> str:
    if found.prefix:
        cut = f"{{k.removeprefix('{found.prefix}'): v for k, v in state.items() if k.startswith('{found.prefix}')}}"
        return f", as torch.save({cut}, 'one.pt')"
    keys = "".join(f"[{key!r}]" for key in found.keys)
    return f", as torch.save(torch.load(FILE, weights_only=False){keys}, 'one.pt')"


def _parts(found: Found, expected: Mapping[str, Tensor]) -> list[Found]:
    wanted = {name for name in expected if not IGNORED.search(name)}
    if not wanted:
        return []
    plain = {name: name for name in found.state}
    unwrapped = {name: WRAPPED.sub("", name) for name in found.state}
    for renamed in (plain, unwrapped):
        prefixes = _fitting_prefixes(renamed.values(), wanted)
        if len(prefixes) > 1:
            return [_part(found, renamed, prefix, prefixes) for prefix in prefixes]
    return []


def _fitting_prefixes(names: Iterable[str], wanted: set[str]) -> list[str]:
    """Return the prefixes, of which one may be empty, behind which all wanted names are."""
    behind: dict[str, set[str]] = {}
    for name in names:
        words = name.split(".")
        for cut in range(len(words)):
            rest = ".".join(words[cut:])
            if rest in wanted:
                behind.setdefault("".join(f"{word}." for word in words[:cut]), set()).add(rest)
    return [prefix for prefix, found in behind.items() if len(found) == len(wanted)]


def _part(found: Found, renamed: Mapping[str, str], prefix: str, prefixes: Sequence[str]) -> Found:
    others = tuple(one for one in prefixes if one != prefix)
    longer = tuple(one for one in others if one.startswith(prefix))
    state = OrderedDict(
        (renamed[name], value)
        for name, value in found.state.items()
        if renamed[name].startswith(prefix) and not renamed[name].startswith(longer or ("\0",))
    )
    metadata = getattr(found.state, "_metadata", None)
    if metadata is not None:
        vars(state)["_metadata"] = metadata
    words = tuple(prefix.rstrip(".").split(".")) if prefix else ()
    names = tuple(one.rstrip(".") or "the names without a prefix" for one in others)
    return Found(state, (*found.keys, *words), prefix, names)


def _are_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    common = one.keys() & other.keys()
    return all(
        one[name].shape == other[name].shape
        and torch.equal(one[name], other[name].to(one[name].dtype))
        for name in common
    )
