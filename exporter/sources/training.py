"""`train:package.module:callable`: a network that is trained during the export, by code of this project or of yours."""

from collections.abc import Callable

from exporter.errors import ExportError, SourceError
from exporter.network import Network
from exporter.progress import Progress
from exporter.recipe import Recipe
from exporter.sources.user_code import (
    code_folders,
    find,
    importable,
    place_of,
    reason,
    source_named,
)
from exporter.torch_network import TorchModel, torch_network

Train = Callable[[Progress], TorchModel]
"""Trains a network, reports its progress, and returns the module with its scores and held-out images."""


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Train and trace the network.

    Raises:
        SourceError: there is no such callable, it fails, or it returns something else.
    """
    train: Train = find(where, recipe, "train")
    folders = code_folders(recipe)
    progress.begin("Train the network")
    with importable(folders), source_named(f"train:{where}", folders):
        try:
            model = train(progress)
        except ExportError:
            raise
        # The code may be the user's, and may raise anything.
        except (Exception, SystemExit) as error:
            raise SourceError(
                f"train:{where}: {reason(error)}{place_of(error, folders)}"
            ) from error
        if not isinstance(model, TorchModel):
            raise SourceError(
                f"train:{where} returns a {type(model).__name__}, not an exporter.torch_network.TorchModel"
            )
        return torch_network(model, recipe, progress)
