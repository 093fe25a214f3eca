"""A PyTorch module, with what its source knows about it → a network that is ready to be completed and proved."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.errors import GraphError
from exporter.heads.detect import DetectHead
from exporter.heads.own_suppression import keeps_boxes_apart
from exporter.heads.select_head import select_head
from exporter.map_forms import map_form
from exporter.network import Borrowed, Facts, Head, Network, Outputs, Unstated
from exporter.own_scaling import own_factor, settle_scale
from exporter.pickled_statements import stated_in
from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe
from exporter.recipe_tables import DetectRecipe, SegmentRecipe
from exporter.torch_order import order_outputs
from exporter.torch_outputs import Chosen, Maps, is_plain, named_tensors
from exporter.tracing import Exportable, TorchReference, Traced, first_run, torch_name, trace
from exporter.transforms import plain_transform
from service.card import ImageInput


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A module with its weights, and what its source knows about images for it.

    `transform` is the framework's own path from encoded bytes to pixel values, `postprocessed` its own path from
    encoded bytes to the task's outputs, where it has them. `detect` and `segment` describe the raw outputs. `proof`
    are encoded images to prove with. `exportable` is what was saved with its code, where that is no plain module.
    `borrowed` says whose `image_input` and `pixels` these are, where they are those of other weights than the module's
    own; `size_is_known` is whether the module itself nevertheless shows the input size. Without `states_values` the
    `pixels` have color and layout alone: scale, mean and std are not known. `silent` are further parts that the source
    can not state.
    """

    module: nn.Module
    facts: Facts
    image_input: ImageInput | None = None
    pixels: Pixels | None = None
    transform: Callable[[bytes], NDArray[np.float32]] | None = None
    postprocessed: Callable[[bytes], Outputs] | None = None
    detect: DetectRecipe | None = None
    segment: SegmentRecipe | None = None
    proof: tuple[bytes, ...] = ()
    max_batch: int | None = None
    exportable: Exportable | None = None
    borrowed: str | None = None
    size_is_known: bool = False
    states_values: bool = True
    silent: tuple[Unstated, ...] = ()


def torch_network(model: TorchModel, recipe: Recipe, progress: Progress) -> Network:
    """Trace the module and select its head.

    Raises:
        ExportError: the recipe and the module do not fit together, or it can not be traced.
    """
    image_input = recipe.image_input(model.image_input)
    module = model.module.eval()
    known = recipe.pixel_values(model.pixels)
    pixels = _with_channels(known, module, image_input, recipe, progress)
    refuse_own_statistics(module)
    progress.begin("Trace the network")
    model = _with_own_batch(model, module, pixels, image_input, progress)
    states_suppression = "nms_free" in recipe.detect.model_fields_set
    module, recipe = _with_outputs(module, image_input, pixels, recipe, model)
    exportable = model.exportable if module is model.module else None
    traced = trace(module, image_input, pixels, exportable, model.max_batch)
    stated = model.pixels if model.states_values else None
    assumed = recipe.assumed_pixels(None if model.borrowed else stated)
    factor = own_factor(traced.graph.proto, traced.graph.opset)
    if stated is None:
        unscaled = settle_scale(pixels, recipe, factor, progress)
        pixels, assumed = unscaled, assumed if unscaled == pixels else ()
    if model.borrowed and model.states_values and assumed:
        progress.warn(
            f"{' and '.join(assumed)} are {model.borrowed}: nothing states those that the weights were trained with"
        )
    as_known = pixels == model.pixels and image_input == model.image_input
    own = model.transform if as_known else None
    reference = TorchReference(
        torch_name(),
        module,
        pixels,
        own or plain_transform(image_input, pixels),
        model.postprocessed if as_known else None,
        model.max_batch if model.postprocessed is None else None,
    )
    return Network(
        graph=traced.graph,
        raw=traced.outputs,
        head=_head(recipe, model, traced, image_input, states_suppression=states_suppression),
        reference=reference,
        image_input=image_input,
        pixels=pixels,
        facts=model.facts,
        background_id=_background_id(recipe, model),
        proof=model.proof,
        max_batch=model.max_batch,
        assumed=assumed,
        borrowed=_borrowed(model, recipe),
        own_factor=factor,
        silent=model.silent,
    )


def _borrowed(model: TorchModel, recipe: Recipe) -> Borrowed | None:
    """Return which parts of the image input are those of other weights, where the recipe does not state them."""
    if model.borrowed is None or model.image_input is None:
        return None
    stated = recipe.input.model_dump(exclude_none=True).keys()
    known = {
        "size": model.size_is_known or {"height", "width"} <= stated,
        "resize": not stated.isdisjoint({"resize", "shorter_side"}),
        "interpolation": "interpolation" in stated,
    }
    parts = tuple(part for part, is_known in known.items() if not is_known)
    return Borrowed(model.borrowed, parts, _said_of_images(recipe), has_values=model.states_values)


_IMAGE_KEYS = (
    "img_size", "image_size", "input_size", "imgsz", "train_crop_size", "val_resize_size", "val_crop_size",
    "interpolation",
)  # fmt: skip
"""The names under which trainings keep how they resize images."""


def _said_of_images(recipe: Recipe) -> tuple[str, ...]:
    """Return what the file of the weights says of the images of its training; which of it counts, only a user knows."""
    file = recipe.folder / (recipe.weights or "")
    if not file.is_file():
        return ()
    stated = stated_in(file, _IMAGE_KEYS)
    return tuple(f"{name} {stated[name]}" for name in _IMAGE_KEYS if name in stated)


def _with_channels(
    pixels: Pixels,
    module: nn.Module,
    image_input: ImageInput,
    recipe: Recipe,
    progress: Progress,
) -> Pixels:
    """Return gray pixel values for a network whose first convolution reads one channel, unless a color is stated."""
    is_stated = recipe.pixels is not None and "color" in recipe.pixels.model_fields_set
    gray = pixels.model_copy(update={"color": "gray"})
    if is_stated or pixels == gray:
        return pixels
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None and first.in_channels != 1:
        return pixels
    if first is None and (
        _runs(module, image_input, pixels) or not _runs(module, image_input, gray)
    ):
        return pixels  # one that does not run at all says why when it is traced
    progress.warn("the network reads one channel: images are gray, as with --color gray")
    return gray


def _with_own_batch(
    model: TorchModel,
    module: nn.Module,
    pixels: Pixels,
    image_input: ImageInput,
    progress: Progress,
) -> TorchModel:
    """Return the description with a batch of one, where the module's own code computes no other."""
    if (
        model.max_batch is not None
        or model.exportable is not None
        or _runs(module, image_input, pixels)
        or not _runs(module, image_input, pixels, batch=1)
    ):
        return model
    progress.warn(
        "the network computes one image at a time, and so does the servable (max_batch 1): its code does not run on a "
        "batch of two, as where it has view(1, -1) or squeeze()"
    )
    return replace(model, max_batch=1)


def _runs(module: nn.Module, image_input: ImageInput, pixels: Pixels, batch: int = 2) -> bool:
    try:
        first_run(module, torch.zeros(batch, *pixels.shape(image_input)))
    except GraphError:
        return False
    return True


def _with_outputs(
    module: nn.Module,
    image_input: ImageInput,
    pixels: Pixels,
    recipe: Recipe,
    model: TorchModel,
) -> tuple[nn.Module, Recipe]:
    """Return the module, or one that returns those of its tensors alone that the task reads, and the recipe for them.

    Raises:
        ExportError: it does not run, returns no tensors of the stated names, or which to take can not be known.
    """
    # Noise, for outputs that are told apart by their values.
    seed = torch.Generator().manual_seed(0)
    batch = 2 if model.max_batch is None else 1
    example = torch.rand(batch, *pixels.shape(image_input), generator=seed)
    output = first_run(module, example)
    if recipe.task == "embed" or (recipe.task == "segment" and model.segment is None):
        module, output = _with_map_axes(module, output, image_input, recipe)
    plain = is_plain(output)
    if plain and not recipe.outputs and (model.detect is not None or model.segment is not None):
        return module, recipe  # the source knows its outputs
    labels = len(recipe.label_list() or model.facts.labels or ())
    recipe, names = order_outputs(output, recipe, image_input, labels)
    if plain and names == tuple(name for name, _ in named_tensors(output)):
        return module, recipe
    return Chosen(module, names).eval(), recipe


def _with_map_axes(
    module: nn.Module, output: object, image_input: ImageInput, recipe: Recipe
) -> tuple[nn.Module, object]:
    """Return the module and its output with maps as (N, C, h, w), where it alone gives (N, h, w) or (N, h, w, C)."""
    tensors = dict(named_tensors(output))
    if len(tensors) != 1:
        return module, output
    (only,) = tensors.values()
    form = map_form((1, *only.shape[1:]), recipe, image_input)
    if form == "plain" or not only.is_floating_point():
        return module, output
    arranged = Maps(module, form).eval()
    return arranged, arranged.arranged(only)


def refuse_own_statistics(module: nn.Module) -> None:
    """Refuse batch norms that use the batch's statistics even in evaluation mode.

    Raises:
        GraphError: there is one; the message names it.
    """
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise GraphError(
                f"{name} is a batch norm without running statistics: it is always in training mode, so that its "
                "outputs depend on the other images of the batch. Train it with track_running_stats=True"
            )


_FORM = {"decoder", "box_format", "box_unit", "score_activation"}
"""What a source that knows its detector knows of its outputs. A recipe that states another one is judged by values."""


def _head(
    recipe: Recipe,
    model: TorchModel,
    traced: Traced,
    image_input: ImageInput,
    *,
    states_suppression: bool,
) -> Head:
    """Return the head; `states_suppression` is whether the user says if each object has one box."""
    head = select_head(_with_known_outputs(recipe, model), traced.dims, image_input)
    if not isinstance(head, DetectHead):
        return head
    is_assumed = head.recipe.nms_free and model.detect is None and not states_suppression
    by_form = is_assumed and not keeps_boxes_apart(traced.graph.proto)
    head = replace(head, assumes_nms_free=is_assumed, is_free_by_form=by_form)
    if model.detect is not None:
        stated = recipe.detect.model_dump(include=_FORM, exclude_unset=True)
        as_known = all(getattr(model.detect, name) == value for name, value in stated.items())
        return replace(head, assumed=(), is_known=as_known)
    return head


def _with_known_outputs(recipe: Recipe, model: TorchModel) -> Recipe:
    """Complete the recipe's description of the raw outputs: the source's, and what the recipe states instead."""
    update: dict[str, BaseModel] = {}
    for name, known in {"detect": model.detect, "segment": model.segment}.items():
        if known is not None:
            stated = getattr(recipe, name)
            update[name] = known.model_copy(update=stated.model_dump(exclude_unset=True))
    return recipe.model_copy(update=update)


def _background_id(recipe: Recipe, model: TorchModel) -> int | None:
    """Return the recipe's background id, which may be 0, else the source's."""
    if recipe.segment.background_id is not None or model.segment is None:
        return recipe.segment.background_id
    return model.segment.background_id
