"""A network of torchvision with its weights: published ones, or a file that its shapes must show how to read."""

import hashlib
from dataclasses import dataclass
from enum import EnumType
from pathlib import Path
from typing import Any

from torch import nn
from torchvision import models
from torchvision.models import VisionTransformer, get_model, get_model_weights, list_models
from torchvision.ops import FrozenBatchNorm2d

from exporter.checkpoint import Checkpoint, read_checkpoint
from exporter.errors import SourceError
from exporter.progress import Progress
from exporter.recipe import Recipe, Task
from exporter.sources.first_layer import first_convolution, fit_first_layer
from exporter.sources.inferred import inferred_classes, inferred_side, weights_of
from exporter.sources.user_code import reason
from exporter.weights import load_weights

AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""The networks that were trained with inputs in another range, and the parts of them that only training uses.

With `weights=`, torchvision builds both with `transform_input=True`, which a state dict does not hold."""

FROZEN_WITHOUT_EPSILON = {
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
}
"""Detectors whose COCO_V1 weights torchvision runs with an epsilon of 0 in the batch norms, which are frozen."""

TASKS: dict[Task, Any] = {
    "classify": models,
    "embed": models,
    "segment": models.segmentation,
    "detect": models.detection,
}
"""The part of torchvision that has the networks for a task."""

CLASSES: dict[Task, int] = {"classify": 1000, "embed": 1000, "segment": 21, "detect": 91}
"""The number of classes with which torchvision builds a network without weights, but for those of keypoints."""

KEYPOINT_CLASSES = 2
"""Persons, and the background."""

RGB = 3
"""The number of channels of torchvision's networks."""


@dataclass(frozen=True, slots=True)
class Built:
    """A network with its weights.

    `documented` are the published weights whose transforms and labels are taken; `published` says whether these are
    the very weights that it has, and `is_own_file` that they are from a file of the user's own. A headless network has
    no last layer any more.
    """

    name: str
    module: nn.Module
    documented: Any
    origin: str
    classes: int
    published: bool = False
    is_headless: bool = False
    is_own_file: bool = False


def check_task(where: str, task: Task) -> None:
    """Refuse a task that the network is not made for.

    Raises:
        SourceError: it is for other tasks, or reads something else than images.
    """
    tasks = [one for one, part in TASKS.items() if where in list_models(module=part)]
    if task in tasks:
        return
    if where.startswith("quantized_"):
        raise SourceError(
            f"torchvision:{where} is quantized already. "
            f"Export {where.removeprefix('quantized_')}, with --precision int8"
        )
    if not tasks:
        raise SourceError(f"torchvision:{where} reads videos or pairs of images, not images")
    raise SourceError(
        f"torchvision:{where} is no network for --task {task}; it is for {' and '.join(tasks)}"
    )


def built_by_name(where: str, enum: EnumType, weights: Any, recipe: Recipe) -> Built:  # noqa: ANN401
    """Return a network with published weights, or with random ones.

    Raises:
        SourceError: an argument is wrong, or the weights can not be downloaded.
    """
    module = _build(where, weights, recipe, recipe.arguments)
    published = weights is not None
    documented = weights if published else getattr(enum, "DEFAULT", None)
    classes = len(weights.meta["categories"]) if published else _stated_classes(where, recipe)
    origin = f"weights {weights}" if published else "untrained"
    return Built(where, module, documented, origin, classes, published)


def built_from_file(
    where: str, enum: EnumType, path: Path, recipe: Recipe, progress: Progress
) -> Built:
    """Return a network with the weights of a file, built as these need it, and as torchvision does with `weights=`.

    Raises:
        SourceError: an argument is wrong.
        WeightsError: the file does not fit.
    """
    checkpoint = read_checkpoint(path)
    named = _published(enum, path)
    arguments = _as_with_weights(where, recipe)
    module = _build(where, None, recipe, arguments)
    shown = _shown_by(where, module, checkpoint, recipe)
    if shown:
        listed = ", ".join(f"{name}={value}" for name, value in shown.items())
        progress.warn(f"{listed}, as the shapes of the weights show")
        module = _build(where, None, recipe, arguments | shown)
    fit_first_layer(module, *weights_of(module, checkpoint), progress)
    _settle_transform(where, module, recipe, progress)
    if recipe.task == "detect":
        _refuse_other_channels(module)
    is_headless = recipe.task == "embed" and not _has_last_layer(module, checkpoint)
    if is_headless:
        drop_last_layer(module)
    load_weights(module, checkpoint, AUXILIARY.get(where, ()), progress)
    _set_epsilon(where, module, named, progress)
    classes = int(shown.get("num_classes", _stated_classes(where, recipe)))
    published = named is not None and _is_download(named, path)
    origin = f"weights {named}" if published else f"weights of {path.name}"
    documented = named or getattr(enum, "DEFAULT", None)
    return Built(
        where,
        module,
        documented,
        origin,
        classes,
        published,
        is_headless,
        is_own_file=not published,
    )


def _refuse_other_channels(module: nn.Module) -> None:
    """Refuse a detector whose weights do not read the three channels that torchvision's own resizing gives it.

    Raises:
        SourceError: names the layer, and for gray images the weights of three channels that compute the same.
    """
    name, first = first_convolution(module)
    channels = first.in_channels
    if channels == 1:
        raise SourceError(
            f"In the file {name} reads one channel, and torchvision's detectors are exported with three. The same "
            f"network with three is a state dict whose '{name}.weight' is multiplied by torch.tensor([0.299, 0.587, "
            "0.114]).view(1, 3, 1, 1), the weights of red, green and blue in gray. Save that, and state mean and std "
            "with --mean and --std"
        )
    if channels != RGB:
        raise SourceError(
            f"In the file {name} reads {channels} channels, and images have one (gray) or three: it can not be served"
        )


def last_layer(module: nn.Module) -> str:
    """Return the name of a classifier's last layer with weights."""
    layers = (nn.Linear, nn.Conv2d)
    names: list[str] = [n for n, part in module.named_modules() if isinstance(part, layers)]
    return names[-1]


def drop_last_layer(module: nn.Module) -> None:
    """Replace a classifier's last layer with weights by the identity, so that the module returns its features."""
    owner, _, own_name = last_layer(module).rpartition(".")
    setattr(module.get_submodule(owner), own_name, nn.Identity())


def _has_last_layer(module: nn.Module, checkpoint: Checkpoint) -> bool:
    return f"{last_layer(module)}.weight" in weights_of(module, checkpoint)[1]


def _stated_classes(where: str, recipe: Recipe) -> int:
    stated = recipe.arguments.get("num_classes")
    return stated if isinstance(stated, int) else _usual_classes(where, recipe)


def _usual_classes(where: str, recipe: Recipe) -> int:
    """Return the number of classes with which torchvision builds a network without weights."""
    return KEYPOINT_CLASSES if where.startswith("keypointrcnn") else CLASSES[recipe.task]


def _published(enum: EnumType, path: Path) -> Any:  # noqa: ANN401 - torchvision types no weights
    """Return the published weights whose download has this file's name, None for a file of the user's own."""
    members: list[Any] = list(enum.__members__.values())
    names = {member.url.rpartition("/")[2]: member for member in members}
    return names.get(path.name)


def _is_download(weights: Any, path: Path) -> bool:  # noqa: ANN401
    """Return whether a file is the download itself, whose name ends in the beginning of its SHA-256."""
    expected = Path(weights.url).stem.rpartition("-")[2]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(expected)


def _as_with_weights(where: str, recipe: Recipe) -> dict[str, Any]:
    """Return the arguments, with those that torchvision sets with `weights=` where they change the network."""
    if where not in AUXILIARY:
        return recipe.arguments
    first = {"transform_input": True, "init_weights": False}
    return first | recipe.arguments | {"aux_logits": False}


def _settle_transform(where: str, module: Any, recipe: Recipe, progress: Progress) -> None:  # noqa: ANN401
    """Say that the network transforms its input, or stop it where the input does not have the three channels for it."""
    if where not in AUXILIARY or "transform_input" in recipe.arguments:
        return
    if first_convolution(module)[1].in_channels != RGB:
        module.transform_input = False
    else:
        progress.warn(
            "transform_input=true, as torchvision sets it with weights; for a network that was trained without: "
            "--arg transform_input=false"
        )


def _shown_by(
    where: str, module: nn.Module, checkpoint: Checkpoint, recipe: Recipe
) -> dict[str, int]:
    """Return the arguments that the shapes of the weights show and the recipe does not state."""
    own, state = weights_of(module, checkpoint)
    shown: dict[str, int | None] = {}
    if "num_classes" not in recipe.arguments:
        shown["num_classes"] = inferred_classes(own, state, _usual_classes(where, recipe))
    if isinstance(module, VisionTransformer) and "image_size" not in recipe.arguments:
        shown["image_size"] = inferred_side(own, state, module.image_size, module.patch_size)
    return {name: value for name, value in shown.items() if value is not None}


def _set_epsilon(where: str, module: nn.Module, named: Any, progress: Progress) -> None:  # noqa: ANN401
    """Set the epsilon that torchvision sets for some published weights."""
    if where not in FROZEN_WITHOUT_EPSILON:
        return
    if named is None:
        progress.warn(
            "the epsilon of the backbone's batch norms is 1e-5; a network that was trained further from COCO_V1 has 0: "
            f"give its file the name of these weights, {_download_name(where)}"
        )
    elif named.name == "COCO_V1":
        # Without weights, torchvision builds batch norms that are not frozen in the same places.
        for part in module.modules():
            if isinstance(part, (FrozenBatchNorm2d, nn.BatchNorm2d)):
                part.eps = 0.0


def _download_name(where: str) -> str:
    """Return the name under which torchvision downloads a network's COCO_V1 weights."""
    url: str = get_model_weights(where)["COCO_V1"].url
    return url.rpartition("/")[2]


def _build(where: str, weights: Any, recipe: Recipe, arguments: dict[str, Any]) -> nn.Module:  # noqa: ANN401
    arguments = dict(arguments)
    if weights is None and recipe.task in {"detect", "segment"}:
        arguments.setdefault("weights_backbone", None)
    try:
        module: nn.Module = get_model(where, weights=weights, **arguments)
    except OSError as error:
        raise SourceError(
            f"The weights of {where} can not be downloaded: {error}. Give a file with --weights FILE"
        ) from error
    # Wrong arguments raise whatever the network's own code makes of them.
    except Exception as error:
        raise SourceError(
            f"torchvision:{where}: {reason(error)}. Its keyword arguments are the recipe's [arguments], "
            "or --arg NAME=VALUE"
        ) from error
    return module
