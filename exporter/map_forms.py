"""In which order maps have their axes, a segmenter's or an embedder's: the sizes and the number of labels show it."""

from typing import Literal

from exporter.backbone import ASPECT_TOLERANCE
from exporter.recipe import Recipe
from service.card import ImageInput

MapForm = Literal["plain", "channels_last", "map"]
"""`plain` are maps (N, C, h, w), `channels_last` (N, h, w, C), and `map` is one map (N, h, w)."""


def map_form(dims: tuple[int, ...], recipe: Recipe, image_input: ImageInput) -> MapForm:
    """Return the form of an output, by its dimensions for a batch of one."""
    if len(dims) == 4 and _is_channels_last(dims, recipe, image_input):
        return "channels_last"
    if recipe.task == "segment" and len(dims) == 3 and _has_aspect(*dims[1:], image_input):
        return "map"
    return "plain"


def _is_channels_last(dims: tuple[int, ...], recipe: Recipe, image_input: ImageInput) -> bool:
    """Return whether maps are (N, h, w, C): by their aspect ratio, else by the number of labels, else by the input."""
    if recipe.task == "embed" and 1 in {dims[1] * dims[2], dims[2] * dims[3]}:  # pooled
        return dims[3] > 1
    first = _has_aspect(dims[1], dims[2], image_input)
    last = _has_aspect(dims[2], dims[3], image_input)
    if first != last:
        return first
    labels = len(recipe.label_list() or ())
    maps = {labels, 1} if labels == 2 else {labels}
    if (dims[1] in maps) != (dims[3] in maps):
        return dims[3] in maps
    return recipe.pixels is not None and recipe.pixels.layout == "NHWC"


def _has_aspect(height: int, width: int, image_input: ImageInput) -> bool:
    ratio = height * image_input.width / (width * image_input.height)
    return 1 / ASPECT_TOLERANCE <= ratio <= ASPECT_TOLERANCE
