"""`train:package.module:callable`: a network that is trained during the export, by code of this project or of yours."""

from collections.abc import Callable

from exporter.network import Network
from exporter.progress import Progress
from exporter.recipe import Recipe
from exporter.sources.python import find
from exporter.torch_network import TorchModel, torch_network

Train = Callable[[Progress], TorchModel]
"""Trains a network, reports its progress, and returns the module with its scores and held-out images."""


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Train and trace the network.

    Raises:
        SourceError: there is no such callable.
    """
    train: Train = find(where, recipe)
    progress.begin("Train the network")
    return torch_network(train(progress), recipe, progress)
