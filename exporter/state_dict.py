"""Where the weights are in what a file holds: wrapped in dictionaries, with prefixes and old names."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from exporter.inert_pickle import Inert
from exporter.pickled_arrays import PickledArray

AVERAGED = re.compile(r"(?:^|[._])(?:ema|teacher|swa|averaged)(?=$|[._0-9])", re.IGNORECASE)
"""In the keys of averaged weights, as `state_dict_ema` or `teacher`; they are what a training evaluates."""

PLAIN_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights",
    "module", "student",
)  # fmt: skip
"""The keys under which training scripts keep the weights, in order of preference."""

WRAPPED = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|module)\.")
"""What torch.compile and DataParallel put into a name, in front or in the middle."""

IGNORED = re.compile(
    r"(?:^|\.)(?:n_averaged|num_batches_tracked|total_ops|total_params|position_ids|attn_mask"
    r"|relative_position_index|relative_coords_table|initted|decay)$"
)
"""Counters and tables that some versions of a network save and others compute; none is a trained weight."""

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""The names in densenet's published files, as `norm.1.weight`, which is `norm1.weight` today."""

_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Found:
    """A mapping of names to tensors inside a file, and the keys that lead to it.

    Where a mapping holds the network several times, this is the part behind a `prefix`, and `beside` are the others.
    """

    state: OrderedDict[str, Tensor]
    keys: tuple[str, ...]
    prefix: str = ""
    beside: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return ".".join(self.keys)


def find_states(content: object) -> list[Found]:
    """Return every mapping of names to tensors in the content of a file, the most likely one first."""
    found = sorted(_walk(content, ()), key=lambda one: _rank(one.keys))
    return [one for one in found if one.state]


def with_own_names(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> OrderedDict[str, Tensor]:
    """Return the weights under the names that a network expects, as far as they are only wrapped or old.

    `_metadata`, in which PyTorch keeps the version of each layer's format, keeps its place.
    """
    best: OrderedDict[str, Tensor] = OrderedDict(found)
    vars(best).update(_metadata_of(found))
    for rename in (
        _unwrapped,
        _modern,
        lambda state: _without_prefix(state, expected),
        lambda state: _inside(state, expected),
    ):
        renamed = rename(best)
        if _fitting(renamed, expected) > _fitting(best, expected):
            best = renamed
    return best


def prefix_of(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Return the words in front of the names of a file that most of the expected names lack; empty for none."""
    counts: dict[str, int] = {}
    wanted = {name for name in expected if not IGNORED.search(name)}
    for name in found:
        parts = name.split(".")
        for cut in range(1, len(parts)):
            if ".".join(parts[cut:]) in wanted:
                prefix = ".".join(parts[:cut]) + "."
                counts[prefix] = counts.get(prefix, 0) + 1
    best = max(counts, key=lambda one: (counts[one], -len(one)), default="")
    return best if counts.get(best, 0) > len(found.keys() & wanted) else ""


def own_prefix(expected: Mapping[str, Tensor]) -> str:
    """Return the word in front of all names of a network, as of one that wraps another; empty for none."""
    first = {name.partition(".")[0] for name in expected}
    word = "".join(first) if len(first) == 1 else ""
    return f"{word}." if word and word not in expected else ""


def _fitting(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int:
    return len(found.keys() & expected.keys())


def _unwrapped(found: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    return _renamed(found, lambda name: WRAPPED.sub("", name))


def _modern(found: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    return _renamed(found, lambda name: OLD_DENSENET.sub(r"\1\2", name))


def _without_prefix(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> OrderedDict[str, Tensor]:
    """Return the part of the weights behind the prefix alone, such as a Lightning module's `model.`."""
    prefix = prefix_of(found, expected)
    kept = OrderedDict((name, value) for name, value in found.items() if name.startswith(prefix))
    vars(kept).update(_metadata_of(found))
    return _renamed(kept, lambda name: name.removeprefix(prefix))


def _inside(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> OrderedDict[str, Tensor]:
    """Return the weights behind the network's own prefix, if they are all of the network that it wraps."""
    prefix = own_prefix(expected)
    inner = {name.removeprefix(prefix): value for name, value in expected.items()}
    state = with_own_names(found, inner) if prefix else OrderedDict(found)
    if not prefix or any(not IGNORED.search(name) for name in inner.keys() - state.keys()):
        return OrderedDict(found)
    return _renamed(state, lambda name: f"{prefix}{name}")


def _renamed(found: Mapping[str, Tensor], rename: Callable[[str], str]) -> OrderedDict[str, Tensor]:
    state = OrderedDict((rename(name), value) for name, value in found.items())
    metadata = _metadata_of(found).get("_metadata")
    if isinstance(metadata, dict):
        # The key of a layer is its name without the dot at the end.
        vars(state)["_metadata"] = OrderedDict(
            (rename(f"{name}." if name else "").rstrip("."), value)
            for name, value in metadata.items()
        )
    return state


def _metadata_of(found: Mapping[str, Tensor]) -> dict[str, Any]:
    metadata = getattr(found, "_metadata", None)
    return {"_metadata": metadata} if isinstance(metadata, dict) else {}


def _walk(content: object, keys: tuple[str, ...]) -> Iterator[Found]:
    """Yield the states in nested dictionaries and in the attributes of objects that were not imported."""
    if isinstance(content, Inert) and "_modules" in vars(content):
        yield Found(OrderedDict(_pickled_module(content, "", 0)), keys)
        return
    if isinstance(content, Inert):
        content = vars(content)
    if not isinstance(content, Mapping) or len(keys) > _DEPTH:
        return
    tensors = {
        str(name): tensor
        for name, value in content.items()
        if (tensor := _as_tensor(value)) is not None
    }
    if tensors:
        state = OrderedDict(tensors)
        vars(state).update(_metadata_of(content))
        yield Found(state, keys)
    for name, value in content.items():
        if isinstance(value, Mapping | Inert):
            yield from _walk(value, (*keys, str(name)))


def _as_tensor(value: object) -> Tensor | None:
    if isinstance(value, PickledArray):
        return value.tensor()
    return value if isinstance(value, Tensor) else None


def _pickled_module(module: Inert, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a whole module that was pickled, as its state dict would name them."""
    parts = vars(module)
    transient = parts.get("_non_persistent_buffers_set")
    if not isinstance(transient, Set):  # the file is damaged
        transient = frozenset()
    for table in ("_parameters", "_buffers"):
        for name, value in _items(parts.get(table)):
            if isinstance(value, Tensor) and name not in transient:
                yield prefix + str(name), value
    for name, inner in _items(parts.get("_modules")):
        if isinstance(inner, Inert) and depth < 64:
            yield from _pickled_module(inner, f"{prefix}{name}.", depth + 1)


def _items(table: object) -> list[tuple[Any, Any]]:
    return list(table.items()) if isinstance(table, Mapping) else []


def is_averaged(keys: tuple[str, ...]) -> bool:
    """Return whether the keys lead to averaged weights."""
    return any(AVERAGED.search(key) for key in keys)


def is_unlikely(keys: tuple[str, ...]) -> bool:
    """Return whether the keys lead to what a training keeps beside the weights, such as its optimizer."""
    return any(key.startswith(("optim", "lr_", "scheduler", "loss")) for key in keys)


def _rank(keys: tuple[str, ...]) -> tuple[int, int, int]:
    """Return the place of a state among those of a file: averaged, then by the usual names, then by depth."""
    if is_averaged(keys):
        return 0, 0, len(keys)
    known = [PLAIN_KEYS.index(key) for key in keys if key in PLAIN_KEYS]
    return (3 if is_unlikely(keys) else 1), min(known, default=len(PLAIN_KEYS)), len(keys)
