"""What a module returns → the tensors among it, by name; networks return more than a task needs."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from exporter.errors import GraphError, RecipeError
from exporter.map_forms import MapForm
from exporter.recipe import Task

_DEPTH = 6

WANTED: dict[Task, tuple[tuple[str, ...], ...]] = {
    "classify": (
        (
            *("probabilities", "probs", "prob", "scores", "logits"),
            *("out", "output", "pred", "preds", "prediction", "cls_logits"),
        ),
    ),
    "segment": (("out", "logits", "masks", "mask", "seg", "output", "pred", "sem_seg"),),
    "detect": (
        ("boxes", "pred_boxes", "bboxes"),
        ("scores", "logits", "pred_logits", "cls_logits"),
    ),
    "embed": (
        (
            "embeddings",
            "embedding",
            "image_embeds",
            "features",
            "pooler_output",
            "last_hidden_state",
        ),
    ),
}
"""For each output that a task reads, in order, the names under which networks return it.

Probabilities beside logits show which activation the network was trained with; the logits alone do not.
"""


class Chosen(nn.Module):
    """A network that returns the chosen ones of its tensors alone, as a tuple."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = dict(named_tensors(self.module(pixels)))
        return tuple(found[name] for name in self.names)


class Maps(nn.Module):
    """A segmenter whose only tensor gets the axes (N, C, h, w)."""

    def __init__(self, module: nn.Module, form: MapForm) -> None:
        super().__init__()
        self.module = module
        self.form = form

    def forward(self, pixels: Tensor) -> Tensor:
        (only,) = dict(named_tensors(self.module(pixels))).values()
        return self.arranged(only)

    def arranged(self, maps: Tensor) -> Tensor:
        """Return maps (N, h, w) or (N, h, w, C) as (N, C, h, w)."""
        return maps[:, None] if self.form == "map" else maps.permute(0, 3, 1, 2)


def named_tensors(output: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in a module's output with its path, as `logits` or `hidden_states.0`.

    Looks into tuples, lists, dictionaries, named tuples, dataclasses and other objects; what is no tensor is left out.
    """
    if isinstance(output, Tensor):
        yield path or "0", output
    elif depth < _DEPTH:
        for name, part in _parts(output):
            yield from named_tensors(part, f"{path}.{name}" if path else name, depth + 1)


def is_plain(output: object) -> bool:
    """Return whether an output is a tensor, or a flat tuple or list of tensors."""
    parts = output if type(output) in {tuple, list} else (output,)
    return bool(parts) and all(isinstance(part, Tensor) for part in parts)  # type: ignore[attr-defined]


def choose_outputs(output: object, task: Task, stated: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the tensors that a task reads, among those in an output.

    Args:
        output: what the module returned.
        task: the recipe's.
        stated: the names that the recipe states, in order; none where it leaves this to the task.

    Raises:
        GraphError: there is no tensor in the output.
        RecipeError: a stated name is none of the output's.
    """
    found = dict(named_tensors(output))
    if not found:
        raise GraphError(
            f"The network returns {_described(output)}, without a tensor. Its forward must return tensors"
        )
    if stated:
        missing = [name for name in stated if name not in found]
        if missing:
            raise RecipeError(
                f"--outputs {missing[0]}: the network's outputs are {', '.join(found)}"
            )
        return tuple(stated)
    return _by_task(found, task) or tuple(found)


def _by_task(found: Mapping[str, Tensor], task: Task) -> tuple[str, ...]:
    """Return the usual names of a task's outputs, if there is one for each; all of those of a classifier's scores."""
    if task == "classify":
        (names,) = WANTED["classify"]
        return tuple(name for name in names if name in found)
    chosen = [
        next((name for name in names if name in found), None) for names in WANTED.get(task, ())
    ]
    known = tuple(name for name in chosen if name is not None)
    return known if len(known) == len(chosen) else ()


def _parts(output: object) -> Iterator[tuple[str, object]]:
    if isinstance(output, Mapping):
        yield from ((str(name), part) for name, part in output.items())
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        yield from zip(output._fields, output, strict=True)
    elif isinstance(output, tuple | list):
        yield from ((str(index), part) for index, part in enumerate(output))
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        yield from ((one.name, getattr(output, one.name)) for one in dataclasses.fields(output))
    elif not isinstance(output, type | nn.Module | torch.dtype | torch.device):
        yield from getattr(output, "__dict__", {}).items()


def _described(output: object) -> str:
    return "nothing (None)" if output is None else f"a {type(output).__name__}"
