"""Every kind of source, by the word before its colon."""

from collections.abc import Callable

from exporter.errors import SourceError
from exporter.network import Network
from exporter.progress import Steps
from exporter.recipe import Recipe
from exporter.sources import onnx_file, program, python, timm_models, torchvision_models, training

Load = Callable[[str, Recipe, Steps], Network]

SOURCES: dict[str, Load] = {
    "torchvision": torchvision_models.load,
    "timm": timm_models.load,
    "python": python.load,
    "program": program.load_program,
    "torchscript": program.load_torchscript,
    "onnx": onnx_file.load,
    "train": training.load,
}


def load_network(recipe: Recipe, steps: Steps) -> Network:
    """Return the network that a recipe names.

    Raises:
        SourceError: no such kind of source, or none such in it.
    """
    kind, _, where = recipe.source.partition(":")
    if kind not in SOURCES or not where:
        raise SourceError(
            f"source {recipe.source!r}: start it with one of {', '.join(SOURCES)} and a colon"
        )
    return SOURCES[kind](where, recipe, steps)
