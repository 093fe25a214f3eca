"""`python:package.module:callable`: a module that a callable in the user's own code returns."""

import sys
from functools import reduce
from importlib import import_module
from typing import Any

from torch import nn

from exporter.errors import SourceError
from exporter.network import Facts, Network
from exporter.progress import Progress
from exporter.recipe import Recipe
from exporter.torch_network import TorchModel, torch_network
from exporter.weights import load_weights

NO_WEIGHTS = "none"


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network that a callable builds, with the recipe's weights.

    Raises:
        SourceError: there is no such callable, it fails, or it returns no module.
    """
    progress.begin("Build the network")
    build = find(where, recipe)
    try:
        module = build(**recipe.arguments)
    except TypeError as error:
        raise SourceError(
            f"python:{where}: {error}. Its keyword arguments are the recipe's [arguments], or --arg NAME=VALUE"
        ) from error
    if not isinstance(module, nn.Module):
        raise SourceError(
            f"python:{where} returns a {type(module).__name__}, not a torch.nn.Module"
        )
    if recipe.weights is None:
        raise SourceError(f"python:{where}: give --weights FILE, or --weights none for random ones")
    if recipe.weights != NO_WEIGHTS:
        load_weights(module, recipe.locate(recipe.weights))
    facts = Facts(title=recipe.name, origin=f"python:{where}")
    return torch_network(TorchModel(module, facts), recipe, progress)


def find(where: str, recipe: Recipe) -> Any:  # noqa: ANN401 - whatever the user's module holds under that name
    """Return the object that `package.module:name` names; the module may be in the recipe's folder.

    Raises:
        SourceError: there is no such object.
    """
    module_name, _, attribute = where.partition(":")
    if not attribute:
        raise SourceError(f"python:{where}: write python:package.module:callable")
    folder = str(recipe.folder.resolve())
    sys.path.insert(0, folder)
    try:
        return reduce(getattr, attribute.split("."), import_module(module_name))
    except ModuleNotFoundError as error:
        raise SourceError(
            f"python:{where}: there is no module {error.name}. Install it, or run from its folder"
        ) from error
    except AttributeError as error:
        raise SourceError(f"python:{where}: {error}") from error
    finally:
        sys.path.remove(folder)
