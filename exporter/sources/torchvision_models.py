"""`torchvision:NAME`: a network of torchvision, with what the metadata of its weights states."""

from collections.abc import Callable
from enum import EnumType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.transforms._presets import ImageClassification

from exporter.detectors import adapt_detector, frame_of
from exporter.errors import SourceError
from exporter.network import Facts, Network
from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe, SegmentRecipe
from exporter.sources.names import unknown_network
from exporter.sources.python import NO_WEIGHTS
from exporter.torch_network import TorchModel, torch_network
from exporter.transforms import decode
from exporter.weights import load_weights
from service.card import ImageInput, Interpolation

SEGMENT_SIDE = 520
"""The input size, in pixels, that torchvision's segmentation networks were trained with (references/segmentation)."""

IMAGENET = Pixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
LICENSE = "BSD-3-Clause (torchvision); see the weights' data for its own terms"


class MapsOnly(nn.Module):
    """A segmentation network without its auxiliary output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.model(pixels)["out"]
        return maps


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return a network of torchvision.

    Raises:
        SourceError: there is no network of that name, or no such weights.
        WeightsError: the weights file does not fit.
    """
    progress.begin("Build the network")
    if where not in list_models():
        raise unknown_network(where, list_models(), "torchvision.models.list_models()")
    enum = get_model_weights(where)
    weights, file = choose_weights(where, enum, recipe)
    module = _build(where, weights, recipe)
    if file is not None:
        load_weights(module, recipe.locate(file))
    documented = weights or getattr(enum, "DEFAULT", None)
    return torch_network(_described(where, module.eval(), documented, recipe), recipe, progress)


def choose_weights(where: str, enum: EnumType, recipe: Recipe) -> tuple[Any, str | None]:
    """Return the weights that a recipe names: a member of the network's enum, or a file; one of the two is None.

    Raises:
        SourceError: the name is neither.
    """
    name = recipe.weights or "DEFAULT"
    if name == NO_WEIGHTS:
        return None, None
    if name in enum.__members__:
        return enum[name], None
    if {".", "/", ":"} & set(name):
        return None, name
    known = ", ".join(enum.__members__)
    raise SourceError(f"--weights {name}: {where} has {known}; or give a file, or none")


def _build(where: str, weights: Any, recipe: Recipe) -> nn.Module:  # noqa: ANN401 - torchvision types no weights
    arguments = dict(recipe.arguments)
    if weights is None and recipe.task != "classify":
        arguments.setdefault("weights_backbone", None)
    try:
        module: nn.Module = get_model(where, weights=weights, **arguments)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"torchvision:{where}: {error}. Its keyword arguments are the recipe's [arguments], or --arg NAME=VALUE"
        ) from error
    except OSError as error:
        raise SourceError(
            f"The weights of {where} can not be downloaded: {error}. Give a file with --weights FILE"
        ) from error
    return module


def _described(where: str, module: nn.Module, weights: Any, recipe: Recipe) -> TorchModel:  # noqa: ANN401
    facts = _facts(where, weights, recipe)
    if recipe.task == "detect":
        detector = adapt_detector(module, recipe.image_input(frame_of(module)))
        return TorchModel(
            detector.module,
            facts,
            detector.image_input,
            detector.pixels,
            detect=detector.recipe,
            postprocessed=detector.postprocessed,
            max_batch=detector.max_batch,
        )
    if recipe.task == "segment":
        frame = ImageInput(height=SEGMENT_SIDE, width=SEGMENT_SIDE, resize="stretch")
        known = SegmentRecipe(background_id=0)
        return TorchModel(MapsOnly(module), facts, frame, IMAGENET, segment=known)
    preset = weights.transforms() if weights is not None else None
    if not isinstance(preset, ImageClassification):
        return TorchModel(module, facts)
    return TorchModel(module, facts, _frame(preset), _pixels(preset), _transform(preset))


def _facts(where: str, weights: Any, recipe: Recipe) -> Facts:  # noqa: ANN401
    meta = weights.meta if weights is not None else {}
    labels = tuple(_label(name, recipe) for name in meta.get("categories", ()))
    trained = weights is not None and recipe.weights != NO_WEIGHTS
    return Facts(
        title=where,
        origin=f"torchvision:{where}" + (f", weights {weights}" if trained else ", untrained"),
        license=meta.get("license", LICENSE),
        labels=labels or None,
        scores=_scores(meta) if trained else {},
    )


def _scores(meta: dict[str, Any]) -> dict[str, float]:
    return {
        f"{data} {metric}": float(value)
        for data, metrics in meta.get("_metrics", {}).items()
        for metric, value in metrics.items()
    }


def _label(name: str, recipe: Recipe) -> str:
    if name == "__background__":
        return "background" if recipe.task == "segment" else ""
    return "" if name == "N/A" else name


def _frame(preset: ImageClassification) -> ImageInput:
    side = preset.crop_size[0]
    interpolation: Interpolation = preset.interpolation.value
    return ImageInput(
        height=side,
        width=side,
        resize="crop",
        shorter_side=max(side, preset.resize_size[0]),
        interpolation=interpolation,
    )


def _pixels(preset: ImageClassification) -> Pixels:
    return Pixels(mean=tuple(preset.mean), std=tuple(preset.std))


def _transform(preset: ImageClassification) -> Callable[[bytes], NDArray[np.float32]]:
    def transform(body: bytes) -> NDArray[np.float32]:
        values: NDArray[np.float32] = preset(decode(body)).numpy()
        return values

    return transform
