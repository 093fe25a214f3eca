"""`timm:NAME`: a network of timm, with what its `pretrained_cfg` states."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import timm
from numpy.typing import NDArray
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.data.transforms_factory import create_transform
from timm.layers.helpers import to_2tuple
from torch import Tensor, nn

from exporter.checkpoint import Checkpoint, read_checkpoint
from exporter.checks import check_labels
from exporter.errors import RecipeError, SourceError
from exporter.network import Facts, Network
from exporter.progress import Progress
from exporter.recipe import LABELED, Pixels, Recipe
from exporter.sources.inferred import (
    has_positions,
    inferred_channels,
    inferred_classes,
    inferred_side,
    weights_of,
)
from exporter.sources.names import unknown_network
from exporter.sources.python import NO_WEIGHTS
from exporter.sources.timm_resizing import INTERPOLATIONS, POLICIES
from exporter.sources.user_code import reason
from exporter.torch_network import TorchModel, torch_network
from exporter.transforms import decode
from exporter.weights import Adapt, load_weights
from service.card import ImageInput

UNTRAINED = "untrained"
WITH_WEIGHTS: Mapping[str, Mapping[str, float]] = {"fbnetc_100": {"bn_eps": 1e-3}}
"""Arguments that timm itself sets with published weights, by network: a state dict does not hold them."""

HUB_PREFIXES = ("hf-hub:", "hf_hub:", "timm/")

AUXILIARY = {"inception_v3": ("AuxLogits.",)}
"""Parts that only training uses, by network: torchvision's files have them, and timm leaves them out too."""


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return a network of timm.

    Raises:
        SourceError: there is no network of that name, or its weights can not be loaded.
        WeightsError: the weights file does not fit.
    """
    progress.begin("Build the network")
    where = _without_hub(where)
    if not timm.is_model(where):
        architecture = where.partition(".")[0]
        raise unknown_network(architecture, timm.list_models(), "timm.list_models()")
    if recipe.task not in {"classify", "embed"}:
        raise SourceError(
            f"timm:{where} is no network for --task {recipe.task}; it is for classify and embed"
        )
    weights = recipe.weights or "DEFAULT"
    pretrained = weights == "DEFAULT"
    if pretrained or weights == NO_WEIGHTS:
        headless = {"num_classes": 0} if recipe.task == "embed" else {}
        module = _build(where, headless | recipe.arguments, pretrained=pretrained)
        origin = None if pretrained else UNTRAINED
    else:
        path = recipe.locate(weights, "weights")
        module = _from_file(where, read_checkpoint(path), recipe, progress)
        origin = f"weights of {path.name}"
    if recipe.task == "classify" and getattr(module, "num_classes", None) == 0:
        raise RecipeError(
            f"--task classify: timm's {where} has no classifier, its outputs are features. Give --task embed; for "
            "weights with a classifier give its size, --arg num_classes=N"
        )
    described = _described(where, module.eval(), recipe, origin)
    check_labels(recipe, described.facts)
    return torch_network(described, recipe, progress)


def _without_hub(name: str) -> str:
    """Return timm's name of a network whose name is that of its page on the hub: timm/NAME, hf-hub:timm/NAME."""
    for prefix in HUB_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _build(where: str, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    try:
        module: nn.Module = timm.create_model(where, pretrained=pretrained, **arguments)
    # Wrong arguments raise whatever the network's own code makes of them, and a download what its client does.
    except Exception as error:
        if "Invalid pretrained tag" in str(error):
            tags = timm.list_pretrained(f"{where.partition('.')[0]}.*")
            raise unknown_network(where, tags, "timm.list_pretrained()") from error
        advice = (
            "Give --weights FILE, or none"
            if pretrained
            else "Its keyword arguments are the recipe's [arguments], or --arg NAME=VALUE"
        )
        raise SourceError(f"timm:{where}: {reason(error)}. {advice}") from error
    return module


def _from_file(where: str, checkpoint: Checkpoint, recipe: Recipe, progress: Progress) -> nn.Module:
    """Build a network as its weights need it, and load them as timm does with `pretrained=True`."""
    arguments = _as_with_weights(where, recipe, progress)
    module = _build(where, arguments, pretrained=False)
    adapt = _own_filter(module)
    own, state = weights_of(module, checkpoint, adapt)
    shown = _shown_by(module, own, state, recipe)
    if shown:
        listed = ", ".join(f"{name}={value}" for name, value in shown.items())
        progress.warn(f"{listed}, as the shapes of the weights show")
        module = _build(where, arguments | shown, pretrained=False)
    is_headless = not any(f"{name}.weight" in state for name in _classifiers(module))
    if recipe.task == "embed" and is_headless:
        _drop_head(module)
    unused = AUXILIARY.get(where.partition(".")[0], ())
    load_weights(module, checkpoint, unused, progress, adapt)
    if recipe.task == "embed":
        _drop_head(module)
    return module


def _as_with_weights(where: str, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Return the arguments, with those that timm sets with published weights."""
    own = WITH_WEIGHTS.get(where.partition(".")[0], {})
    for name in own.keys() - recipe.arguments.keys():
        progress.warn(
            f"{name}={own[name]:g}, as timm sets it with published weights; for a network that was trained without: "
            f"--arg {name}=1e-5"
        )
    return {**own, **recipe.arguments}


def _shown_by(
    module: nn.Module,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    recipe: Recipe,
) -> dict[str, int]:
    """Return the arguments that the shapes of the weights show and the recipe does not state."""
    shown: dict[str, int | None] = {}
    classes = getattr(module, "num_classes", 0)
    if classes and "num_classes" not in recipe.arguments:
        shown["num_classes"] = inferred_classes(own, state, classes)
    if "in_chans" not in recipe.arguments:
        shown["in_chans"] = inferred_channels(own, state)
    patches = getattr(module, "patch_embed", None)
    side, patch = getattr(patches, "img_size", None), getattr(patches, "patch_size", None)
    if side and patch and "img_size" not in recipe.arguments:
        (height, width), (patch_side, _) = to_2tuple(side), to_2tuple(patch)  # some keep one number
        if height == width:
            shown["img_size"] = inferred_side(own, state, height, patch_side)
    return {name: value for name, value in shown.items() if value is not None}


def _own_filter(module: nn.Module) -> Adapt | None:
    """Return the function by which timm renames published weights, which are often of another library."""
    named: Adapt | None = getattr(
        sys.modules[type(module).__module__], "checkpoint_filter_fn", None
    )
    return named


def _classifiers(module: nn.Module) -> tuple[str, ...]:
    names = vars(module).get("pretrained_cfg", {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _drop_head(module: nn.Module) -> None:
    cast("Any", module).reset_classifier(0)


def _described(where: str, module: nn.Module, recipe: Recipe, origin: str | None) -> TorchModel:
    data: dict[str, Any] = resolve_model_data_config(module)
    data["input_size"] = _input_size(module, data["input_size"])
    known: dict[str, Any] = vars(module)["pretrained_cfg"]
    tag = known.get("tag") or ""
    classes = getattr(module, "num_classes", 0) or None
    if recipe.task not in LABELED:
        classes = None
    facts = Facts(
        title=known.get("architecture", where),
        origin=f"timm:{where}" + (f" {tag}" if origin is None else f", {origin}"),
        license=known.get("license"),
        labels=_imagenet_labels(classes),
        classes=classes,
    )
    is_gray = data["input_size"][0] == 1
    is_own_file = origin is not None and origin != UNTRAINED
    states_values = not (is_gray and is_own_file)  # timm publishes mean and std of three channels
    pixels = Pixels(color="gray" if is_gray else "rgb")
    if states_values:
        pixels = pixels.model_copy(update={"mean": data["mean"], "std": data["std"]})
    transform = None if is_gray else _transform(data)
    return TorchModel(
        module,
        facts,
        _frame(data),
        pixels,
        transform,
        borrowed=f"those that timm publishes for {where}" if is_own_file else None,
        size_is_known=has_positions(module),
        states_values=states_values,
    )


def _input_size(module: nn.Module, size: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return channels, height and width as the network was built, which its published ones may not be."""
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    channels = first.in_channels if first is not None and first.in_channels in {1, 3} else size[0]
    own = getattr(getattr(module, "patch_embed", None), "img_size", None)
    height, width = own or size[1:]
    return channels, height, width


def _frame(data: dict[str, Any]) -> ImageInput:
    _, height, width = data["input_size"]
    resize = POLICIES[data["crop_mode"]]
    interpolation = data["interpolation"]
    return ImageInput(
        height=height,
        width=width,
        resize=resize,
        shorter_side=int(max(height, width) / data["crop_pct"]) if resize == "crop" else None,
        interpolation=interpolation if interpolation in INTERPOLATIONS else "bilinear",
    )


def _imagenet_labels(classes: int | None) -> tuple[str, ...] | None:
    """Return the labels of the part of ImageNet that has this number of classes, None where there is none."""
    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        return None
    labels = tuple(name.split(",")[0] for name in ImageNetInfo(subset).label_descriptions())
    return labels if len(labels) == classes else None


def _transform(data: dict[str, Any]) -> Callable[[bytes], NDArray[np.float32]]:
    preset = create_transform(**data, is_training=False)

    def transform(body: bytes) -> NDArray[np.float32]:
        values: NDArray[np.float32] = preset(decode(body)).numpy()
        return values

    return transform
