"""`train:package.module:callable`: a network that is trained on the spot, by a recipe of this project or of yours."""

from collections.abc import Callable

from exporter.network import Network
from exporter.progress import Steps
from exporter.recipe import Recipe
from exporter.sources.python import find
from exporter.torch_network import TorchModel, torch_network

Train = Callable[[Steps], TorchModel]
"""It trains, tells how far it is, and returns the module with its scores and its held-out images."""


def load(where: str, recipe: Recipe, steps: Steps) -> Network:
    """Train, then trace.

    Raises:
        SourceError: there is no such callable.
    """
    train: Train = find(where, recipe)
    steps.begin("Train the network")
    return torch_network(train(steps), recipe, steps)
