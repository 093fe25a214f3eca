"""`torchvision:NAME`: a network of torchvision, with what the metadata of its weights states."""

from collections.abc import Callable
from enum import EnumType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import VisionTransformer, get_model_weights, list_models
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.ssd import SSD
from torchvision.transforms._presets import ImageClassification

from exporter.checks import check_labels
from exporter.detectors import adapt_detector, drop_other_heads, frame_of, set_size, size_note
from exporter.errors import SourceError
from exporter.network import Facts, Network
from exporter.progress import Progress
from exporter.recipe import LABELED, Pixels, Recipe
from exporter.recipe_tables import SegmentRecipe
from exporter.sources.first_layer import first_convolution
from exporter.sources.inferred import has_positions
from exporter.sources.names import unknown_network
from exporter.sources.python import NO_WEIGHTS
from exporter.sources.torchvision_build import (
    Built,
    built_by_name,
    built_from_file,
    check_task,
    drop_last_layer,
)
from exporter.torch_network import TorchModel, torch_network
from exporter.transforms import decode, plain_transform
from service.card import ImageInput, Interpolation

SEGMENT_SIDE = 520
"""The input size, in pixels, that torchvision's segmentation networks were trained with (references/segmentation)."""

GRAY = Pixels(color="gray")
"""For weights that read one channel: torchvision publishes mean and std of three."""

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
    check_task(where, recipe.task)
    enum = get_model_weights(where)
    weights, file = choose_weights(where, enum, recipe)
    if file is not None:
        built = built_from_file(where, enum, recipe.locate(file, "weights"), recipe, progress)
    else:
        built = built_by_name(where, enum, weights, recipe)
    if recipe.task == "embed" and not built.is_headless:
        drop_last_layer(built.module)
    if recipe.task == "detect" and (dropped := drop_other_heads(built.module)) is not None:
        progress.warn(
            f"{where} also finds {dropped}, which no task serves: they are left out, and its boxes are exported"
        )
    described = _described(built, recipe)
    is_sized = bool({"height", "width"} & recipe.input.model_dump(exclude_none=True).keys())
    if recipe.task == "detect" and not is_sized and (note := size_note(built.module)) is not None:
        progress.warn(note)
    check_labels(recipe, described.facts)
    return torch_network(described, recipe, progress)


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


def _described(built: Built, recipe: Recipe) -> TorchModel:
    facts, module = _facts(built, recipe), built.module.eval()
    if recipe.task == "detect":
        image_input = recipe.image_input(frame_of(module))
        set_size(module, image_input, recipe.arguments.keys())
        detector = adapt_detector(module, image_input)
        return TorchModel(
            detector.module,
            facts,
            detector.image_input,
            detector.pixels,
            detect=detector.recipe,
            postprocessed=detector.postprocessed,
            max_batch=detector.max_batch,
        )
    is_gray = first_convolution(module)[1].in_channels == 1
    if recipe.task == "segment":
        frame = ImageInput(height=SEGMENT_SIDE, width=SEGMENT_SIDE, resize="stretch")
        known = SegmentRecipe(background_id=0)
        return TorchModel(
            MapsOnly(module),
            facts,
            frame,
            GRAY if is_gray else IMAGENET,
            segment=known,
            borrowed=_borrowed(built),
            states_values=not is_gray,
        )
    preset = built.documented.transforms() if built.documented is not None else None
    if not isinstance(preset, ImageClassification):
        return TorchModel(module, facts)
    frame, transform = _frame(preset), _transform(preset)
    side = getattr(module, "image_size", frame.width)
    if isinstance(module, VisionTransformer) and side != frame.width:
        # One that was built for another size reads no other.
        frame = frame.model_copy(update={"height": side, "width": side, "shorter_side": side})
        transform = plain_transform(frame, _pixels(preset))
    return TorchModel(
        module,
        facts,
        frame,
        GRAY if is_gray else _pixels(preset),
        None if is_gray else transform,
        borrowed=_borrowed(built),
        states_values=not is_gray,
        size_is_known=has_positions(module),
    )


def _borrowed(built: Built) -> str | None:
    """Return whose image input and pixel values are taken for a file of the user's own, which states none."""
    return f"those that torchvision publishes for {built.name}" if built.is_own_file else None


def _facts(built: Built, recipe: Recipe) -> Facts:
    meta = built.documented.meta if built.documented is not None else {}
    has_labels = recipe.task in LABELED
    categories = meta.get("categories", ()) if has_labels else ()
    labels = tuple(_label(name, recipe) for name in categories)
    classes = built.classes if has_labels else None
    return Facts(
        title=built.name,
        origin=f"torchvision:{built.name}, {built.origin}",
        license=meta.get("license", LICENSE),
        labels=labels if labels and len(labels) == classes else None,
        scores=_scores(meta) if built.published else {},
        classes=classes,
        blank_first=isinstance(built.module, (SSD, FasterRCNN)),
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
