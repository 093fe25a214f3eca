"""Every kind of source, by the word before the colon."""

from collections.abc import Callable

import torch

from exporter.errors import SourceError
from exporter.network import Network
from exporter.progress import Progress
from exporter.recipe import Recipe
from exporter.sources import (
    onnx_file,
    program,
    python,
    timm_models,
    torchvision_models,
    training,
    transformers_models,
)

Load = Callable[[str, Recipe, Progress], Network]

SOURCES: dict[str, Load] = {
    "torchvision": torchvision_models.load,
    "timm": timm_models.load,
    "transformers": transformers_models.load,
    "python": python.load,
    "program": program.load_program,
    "torchscript": program.load_torchscript,
    "onnx": onnx_file.load,
    "train": training.load,
}

SEED = 0
"""A recipe must make the same file again, also one with `weights = "none"`."""


def load_network(recipe: Recipe, progress: Progress) -> Network:
    """Return the network that a recipe names; random weights, where it asks for them, are the same each time.

    Raises:
        SourceError: there is no such kind of source, or no such network in it.
    """
    kind, _, where = recipe.source.partition(":")
    if kind not in SOURCES or not where:
        raise SourceError(
            f"source {recipe.source!r}: it must start with one of {', '.join(SOURCES)} and a colon"
        )
    torch.manual_seed(SEED)
    return SOURCES[kind](where, recipe, progress)
