"""`timm:NAME`: a network of timm, with what its `pretrained_cfg` states."""

from collections.abc import Callable
from typing import Any

import numpy as np
import timm
from numpy.typing import NDArray
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo
from timm.data.transforms_factory import create_transform
from torch import nn

from exporter.errors import SourceError
from exporter.network import Facts, Network
from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe
from exporter.sources.names import unknown_network
from exporter.sources.python import NO_WEIGHTS
from exporter.torch_network import TorchModel, torch_network
from exporter.transforms import decode
from exporter.weights import load_weights
from service.card import ImageInput, ResizePolicy

_RESIZE: dict[str, ResizePolicy] = {"center": "crop", "squash": "stretch", "border": "letterbox"}
_INTERPOLATIONS = {"bilinear", "bicubic", "lanczos", "nearest", "box", "hamming"}


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return a network of timm.

    Raises:
        SourceError: there is no network of that name, or its weights can not be loaded.
        WeightsError: the weights file does not fit.
    """
    progress.begin("Build the network")
    if not timm.is_model(where):
        architecture = where.partition(".")[0]
        raise unknown_network(architecture, timm.list_models(), "timm.list_models()")
    weights = recipe.weights or "DEFAULT"
    pretrained = weights == "DEFAULT"
    arguments = dict(recipe.arguments)
    if recipe.task == "embed":
        arguments.setdefault("num_classes", 0)
    try:
        module = timm.create_model(where, pretrained=pretrained, **arguments)
    except (TypeError, RuntimeError, OSError) as error:
        raise SourceError(f"timm:{where}: {error}. Give --weights FILE, or none") from error
    if weights not in {"DEFAULT", NO_WEIGHTS}:
        load_weights(module, recipe.locate(weights))
    return torch_network(_described(where, module.eval(), pretrained=pretrained), recipe, progress)


def _described(where: str, module: nn.Module, *, pretrained: bool) -> TorchModel:
    data: dict[str, Any] = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    known: dict[str, Any] = vars(module)["pretrained_cfg"]
    tag = known.get("tag") or ""
    facts = Facts(
        title=known.get("architecture", where),
        origin=f"timm:{where}" + (f" {tag}" if pretrained else ", untrained"),
        license=known.get("license"),
        labels=_imagenet_labels() if module.num_classes == 1000 else None,
    )
    pixels = Pixels(mean=data["mean"], std=data["std"])
    return TorchModel(module, facts, _frame(data), pixels, _transform(data))


def _frame(data: dict[str, Any]) -> ImageInput:
    _, height, width = data["input_size"]
    resize = _RESIZE[data["crop_mode"]]
    interpolation = data["interpolation"]
    return ImageInput(
        height=height,
        width=width,
        resize=resize,
        shorter_side=int(max(height, width) / data["crop_pct"]) if resize == "crop" else None,
        interpolation=interpolation if interpolation in _INTERPOLATIONS else "bilinear",
    )


def _imagenet_labels() -> tuple[str, ...]:
    known = ImageNetInfo()
    return tuple(name.split(",")[0] for name in known.label_descriptions())


def _transform(data: dict[str, Any]) -> Callable[[bytes], NDArray[np.float32]]:
    preset = create_transform(**data, is_training=False)

    def transform(body: bytes) -> NDArray[np.float32]:
        values: NDArray[np.float32] = preset(decode(body)).numpy()
        return values

    return transform
