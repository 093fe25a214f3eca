"""`torchvision:NAME`: a network of torchvision, with what the metadata of its weights states."""

from collections.abc import Callable
from enum import EnumType
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision import models
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.detection._utils import overwrite_eps
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


AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""The networks that were trained with inputs in another range, and the parts of them that only training uses.

With `weights=`, torchvision builds both with `transform_input=True`, which a state dict does not hold."""

FROZEN_WITHOUT_EPSILON = {"fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn"}
"""Detectors whose COCO_V1 weights torchvision runs with an epsilon of 0 in the frozen batch norms."""


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
    if recipe.task == "embed" and where not in list_models(module=models):
        raise SourceError(f"torchvision:{where} is no image classifier: --task embed needs one")
    enum = get_model_weights(where)
    weights, file = choose_weights(where, enum, recipe)
    module = _build(where, weights, recipe, from_file=file is not None)
    documented = weights or getattr(enum, "DEFAULT", None)
    if file is not None:
        documented = _published(enum, file) or documented
        _load_file(where, module, documented, recipe.locate(file))
    if recipe.task == "embed":
        drop_last_layer(module)
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


def drop_last_layer(module: nn.Module) -> None:
    """Replace a classifier's last layer with weights by the identity, so that the module returns its features."""
    name = [n for n, part in module.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))][-1]
    owner, _, own_name = name.rpartition(".")
    setattr(module.get_submodule(owner), own_name, nn.Identity())


def _published(enum: EnumType, file: str) -> Any:  # noqa: ANN401 - torchvision types no weights
    """Return the published weights whose download has this file's name, None for a file of the user's own."""
    members: list[Any] = list(enum.__members__.values())
    names = {member.url.rpartition("/")[2]: member for member in members}
    return names.get(Path(file).name)


def _load_file(where: str, module: nn.Module, documented: Any, path: Path) -> None:  # noqa: ANN401
    """Load a state dict, and set what torchvision sets with `weights=` but no state dict holds."""
    load_weights(module, path, AUXILIARY.get(where, ()))
    published = documented is not None and documented.url.rpartition("/")[2] == path.name
    if published and where in FROZEN_WITHOUT_EPSILON and documented.name == "COCO_V1":
        overwrite_eps(module, 0.0)


def _build(where: str, weights: Any, recipe: Recipe, *, from_file: bool) -> nn.Module:  # noqa: ANN401
    arguments = dict(recipe.arguments)
    if from_file and where in AUXILIARY:
        # As torchvision builds them with weights=; --arg transform_input=false is for a network trained without.
        arguments = {"transform_input": True, "init_weights": False} | arguments
        arguments["aux_logits"] = False
    if weights is None and recipe.task in {"detect", "segment"}:
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
    categories = () if recipe.task == "embed" else meta.get("categories", ())
    labels = tuple(_label(name, recipe) for name in categories)
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
