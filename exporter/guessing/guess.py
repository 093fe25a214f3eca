"""The words of a command line → a source and its options, completed by what the source states or shows.

What a file states needs no option. Everything that was not given is kept with the reason for its value, so
that the command can show it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from exporter.checks import COMPLETE, WITH_CODE
from exporter.errors import RecipeError, SourceError
from exporter.file_kind import FileKind, file_kind, no_file
from exporter.foreign_sources import next_step_of
from exporter.guessing.granted import Granted, is_given
from exporter.guessing.onnx_facts import (
    check_onnx_input,
    fixed_size,
    onnx_options,
    score_count,
    states_labels,
)
from exporter.guessing.places import KINDS, source_at
from exporter.label_count import counted, likely_cause
from exporter.labels import checkpoint_labels
from exporter.recipe import LABELED, PACKAGE_PREFIX, Recipe, Task
from exporter.sources.transformers_configs import CONFIG, read_config, refuse_other_task, task_of
from exporter.weights_alone import weights_alone

_LABEL_FILES = (
    "labels.txt",
    "classes.txt",
    "class_names.txt",
    "labels.json",
    "classes.json",
    "class_to_idx.json",
    "data.yaml",
)
_SAYS_NOTHING = {"best", "last", "model", "weights", "checkpoint"}
"""Names of files that do not name a network; the folder's name is taken."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_DOWNLOAD = "For a network on a hub, download it first: hf download NAME --local-dir FOLDER"

_BUILT = {"torchvision", "timm", "python"}
"""The kinds of sources that build a network for a file of weights, which states no labels in most cases."""

_FOLDERS_OF_FILES = {"weights", "checkpoints", "export", ""}
_DETECTORS = re.compile(r"(faster|mask|keypoint)_?rcnn|retinanet|fcos|ssd")
_SEGMENTERS = re.compile(r"fcn_|deeplab|lraspp")


@dataclass(frozen=True, slots=True)
class Guess:
    """A source, the values of all options by parameter, and those of them that nobody gave."""

    source: str
    values: dict[str, Any]
    granted: tuple[Granted, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """An option that only the user can answer."""

    option: str
    question: str
    choices: tuple[str, ...] = ()


def guess(word: str, given: Mapping[str, Any], *, search_weights: bool = True) -> Guess:
    """Return the source that a word names, and its options.

    Args:
        word: KIND:WHERE, or the path of a file or folder.
        given: the options of the command line by parameter.
        search_weights: look for labels beside the weights, which loads PyTorch for a checkpoint. Without it the labels
            of a network with a file of weights stay open.

    Raises:
        SourceError: the word names no source.
    """
    source, found = _source(word)
    values = dict(given)
    granted: list[Granted] = []
    if source.endswith(".toml"):
        return Guess(source, values, ())
    kind, _, where = source.partition(":")
    for one in (*found, *_known(kind, where, values, search_weights=search_weights)):
        if one.parameter == "labels" and not _may_have_labels(values):
            continue
        if not is_given(values, one.parameter):
            values[one.parameter] = one.value
            granted.append(one)
    return Guess(source, values, tuple(granted))


def missing(source: str, values: Mapping[str, Any]) -> tuple[Missing, ...]:
    """Return what a source does not state and the options do not answer."""
    return tuple(_missing(*source.partition(":")[::2], values))


def check_label_count(source: str, values: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Compare the number of labels, by class id, with that of the classes, where the source's file states it.

    Raises:
        RecipeError: they differ.
    """
    kind, _, where = source.partition(":")
    task = values.get("task")
    # An ONNX file shows the number of a classifier's scores; rows of boxes have as many axes.
    is_shown = task in LABELED and (kind != "onnx" or task == "classify")
    needed = _class_count(kind, where) if is_shown else None
    if labels and needed is not None and needed > 1 and len(labels) != needed:
        raise RecipeError(
            f"labels: {counted(labels, 'given')}, the network has {needed} classes.{likely_cause(labels, needed)} "
            "Give one label for each class, in the order of the network's outputs"
        )


def check_input(recipe: Recipe) -> None:
    """Compare the options about the input with what the source's file states of it.

    Raises:
        SourceError: no input of the file can be the image.
        RecipeError: an option contradicts the file.
    """
    kind, _, where = recipe.source.partition(":")
    path = recipe.folder / where
    if kind == "onnx" and path.is_file():
        check_onnx_input(path, recipe)


def _class_count(kind: str, where: str) -> int | None:
    path = Path(where)
    if kind == "onnx" and path.is_file():
        return score_count(path)
    config = path / CONFIG if path.is_dir() else path
    if kind == "transformers" and config.is_file():
        return len(read_config(config).get("id2label") or ()) or None
    return None


def _source(word: str) -> tuple[str, tuple[Granted, ...]]:
    kind, colon, where = word.partition(":")
    if colon and kind in KINDS:
        if not where:
            raise SourceError(f"source {word!r}: nothing follows the colon")
        _require_source(word, kind, where)
        return word, ()
    path = Path(word)
    if path.exists() or path.suffix == ".toml":
        return source_at(path)
    if colon and (step := next_step_of(kind, where)) is not None:
        raise SourceError(f"source {word!r}: {kind} is no kind of source. {step}")
    if colon and (near := get_close_matches(kind.lower(), KINDS, 1)):
        raise SourceError(
            f"source {word!r}: there is no such file, and no kind of source {kind!r}. Is it {near[0]}:{where}?"
        )
    on_hub = f". {_DOWNLOAD}" if _HUB_NAME.fullmatch(word) else ""
    raise SourceError(
        f"source {word!r}: there is no such file or folder. A source that is no file begins with one of "
        f"{', '.join(KINDS)} and a colon, for example torchvision:resnet50{on_hub}"
    )


def _require_source(word: str, kind: str, where: str) -> None:
    """Refuse a source of which it can be seen without loading anything that there is none."""
    if where.startswith(PACKAGE_PREFIX):
        return
    path = Path(where)
    if kind in COMPLETE:
        if not path.is_file():
            what = no_file(path)
            raise SourceError(f"source {word!r}: {what}")
        found = file_kind(path)
        if kind != "onnx" and found.kind not in {kind, "unknown"}:
            raise SourceError(f"source {word!r}: {_other_file(path, found)}")
    if kind == "transformers" and not (path / CONFIG).is_file() and not path.is_file():
        what = "this folder has no config.json" if path.is_dir() else f"there is no folder {where}"
        raise SourceError(
            f"source {word!r}: {what}. Give a folder that save_pretrained wrote. {_DOWNLOAD}"
        )
    if kind in WITH_CODE and not all(where.partition(":")):
        raise SourceError(f"source {word!r}: write {kind}:package.module:callable")


def _other_file(path: Path, found: FileKind) -> str:
    return weights_alone(path) if found.is_weights else f"{path} {found.sentence}"


def _known(
    kind: str, where: str, values: Mapping[str, Any], *, search_weights: bool
) -> Iterator[Granted]:
    """Yield what is known of a source, the surest first."""
    yield from _BY_KIND.get(kind, _nothing)(where)
    if search_weights or not values.get("weights"):
        yield from _labels(kind, where, values)
    yield Granted("name", _name(kind, where), "the source's name")


def _nothing(_where: str) -> Iterator[Granted]:
    yield from ()


def _onnx(where: str) -> Iterator[Granted]:
    if Path(where).is_file():
        yield from onnx_options(Path(where))


def _transformers(where: str) -> Iterator[Granted]:
    path = Path(where)
    config = path / CONFIG if path.is_dir() else path
    content = read_config(config) if config.is_file() else {}
    task = task_of(content)
    if task is None:
        refuse_other_task(content)
    else:
        yield Granted("task", task, f"the architecture in {config}")


def _torchvision(where: str) -> Iterator[Granted]:
    kinds = {"detect": _DETECTORS, "segment": _SEGMENTERS}
    task = next((task for task, pattern in kinds.items() if pattern.match(where)), "classify")
    yield Granted("task", task, f"what torchvision's {where} does")


def _timm(where: str) -> Iterator[Granted]:
    yield Granted("task", "classify", f"what timm's {where.partition('.')[0]} does")


_BY_KIND: dict[str, Callable[[str], Iterator[Granted]]] = {
    "onnx": _onnx,
    "transformers": _transformers,
    "torchvision": _torchvision,
    "timm": _timm,
}


def _labels(kind: str, where: str, values: Mapping[str, Any]) -> Iterator[Granted]:
    """Yield labels that are beside the weights in their file, or in the network's folder or the one above it."""
    if is_given(values, "labels") or not _may_have_labels(values):
        return
    weights = values.get("weights")
    if weights and _has_labels(Path(weights)):
        yield Granted("labels", weights, "kept beside the weights")
        return
    beside = Path(where) if kind in COMPLETE else Path(weights or "") if kind in _BUILT else Path()
    if not beside.is_file():
        return
    if kind == "onnx" and states_labels(Path(where)):
        return
    what = "network" if kind in COMPLETE else "weights"
    places = (
        (beside.parent, f"the file beside the {what}"),
        (beside.parent.parent, f"the file in the folder above that of the {what}"),
    )
    for folder, why in places:
        for name in _LABEL_FILES:
            if (folder / name).is_file():
                yield Granted("labels", str(folder / name), why)
                return


def _has_labels(weights: Path) -> bool:
    return weights.is_file() and checkpoint_labels(weights) is not None


def _name(kind: str, where: str) -> str:
    """Return a name for the servable: a-z, 0-9, and after the first also . _ -, at most 64 characters."""
    if kind in WITH_CODE:
        plain = where.rpartition(":")[2].rpartition(".")[2]
    elif kind in COMPLETE or kind == "transformers":
        plain = _file_name(Path(where).resolve())
    else:
        plain = where
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", plain.lower()).strip("-._")
    return cleaned[:64] or "network"


def _file_name(path: Path) -> str:
    stem = path.name if path.is_dir() else path.stem
    if path.name == CONFIG or stem.lower() in _SAYS_NOTHING:
        folders = (folder.name for folder in path.parents)
        return next((name for name in folders if name.lower() not in _FOLDERS_OF_FILES), stem)
    return stem


def _missing(kind: str, where: str, values: Mapping[str, Any]) -> Iterator[Missing]:
    if not is_given(values, "task"):
        yield Missing("--task", "What does the network do?", _tasks(kind))
    if kind == "python" and not is_given(values, "weights"):
        yield Missing("--weights", "Which file has its weights (none for random ones)?")
    own_size = kind not in {"python", "torchscript", "onnx"} or (
        kind == "onnx" and Path(where).is_file() and fixed_size(Path(where))
    )
    if not own_size:
        for name in ("height", "width"):
            if not is_given(values, name):
                yield Missing(f"--{name}", f"What is the {name} of its input, in pixels?")
    unnamed = kind in {"python", "torchscript", "program"} or (
        kind == "onnx" and Path(where).is_file() and not states_labels(Path(where))
    )
    if unnamed and not is_given(values, "labels") and _may_have_labels(values):
        yield Missing("--labels", "Which file has the names of its classes?")


def _tasks(kind: str) -> tuple[Task, ...]:
    """Return the tasks that a kind of source can be for; only a training gives a temporal head."""
    tasks: tuple[Task, ...] = get_args(Task)
    return tuple(task for task in tasks if task != "temporal" or kind == "train")


def _may_have_labels(values: Mapping[str, Any]) -> bool:
    """Return whether the task has labels, or is not known yet."""
    return not is_given(values, "task") or values["task"] in LABELED
