"""`python:package.module:callable`: a module that a callable in the user's own code returns."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from exporter.checkpoint import Checkpoint, read_checkpoint
from exporter.errors import SourceError
from exporter.network import EVERY_PART, Facts, Network
from exporter.progress import Progress
from exporter.recipe import Recipe
from exporter.sources.inferred import inferred_channels, inferred_classes, weights_of
from exporter.sources.pretrained_parts import without_parts
from exporter.sources.user_code import (
    code_folders,
    described,
    find,
    importable,
    source_named,
)
from exporter.sources.wrappers import unwrapped
from exporter.state_dict import IGNORED
from exporter.torch_network import TorchModel, torch_network
from exporter.weights import load_weights

NO_WEIGHTS = "none"

CLASS_ARGUMENTS = (
    "num_classes", "n_classes", "nclasses", "num_class", "n_class", "classes", "num_labels", "n_labels",
    "nc", "num_outputs", "out_features", "n",
)  # fmt: skip
"""The names under which networks take their number of classes."""

CHANNEL_ARGUMENTS = (
    "in_chans",
    "in_channels",
    "num_channels",
    "n_channels",
    "channels",
    "in_ch",
    "c",
)
"""The names under which networks take the number of channels of their input."""

PROBE = 7
"""The number of classes that a network is built with to see where the number shows in its shapes."""

Build = Callable[..., Any]


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network that a callable builds, with the recipe's weights.

    Raises:
        SourceError: there is no such callable, it fails, or it returns no module.
    """
    progress.begin("Build the network")
    if recipe.weights is None:
        raise SourceError(f"python:{where}: give --weights FILE, or --weights none for random ones")
    has_file = recipe.weights != NO_WEIGHTS
    checkpoint = read_checkpoint(recipe.locate(recipe.weights, "weights")) if has_file else None
    build = find(where, recipe)
    folders = code_folders(recipe)
    with importable(folders), source_named(f"python:{where}", folders):
        if checkpoint is None:
            module = built(where, build, recipe, recipe.arguments)
        else:
            module = _with_weights(where, build, checkpoint, recipe, progress)
        facts = Facts(title=recipe.name, origin=f"python:{where}")
        script = module if isinstance(module, torch.jit.ScriptModule) else None
        model = TorchModel(module, facts, exportable=script, silent=EVERY_PART)
        return torch_network(model, recipe, progress)


def built(where: str, build: Build, recipe: Recipe, arguments: dict[str, Any]) -> nn.Module:
    """Return the module that a callable builds, without the wrappers that only a training needs.

    Raises:
        SourceError: the callable fails, or returns something else.
    """
    if isinstance(build, nn.Module):
        return unwrapped(build)
    if not callable(build):
        raise SourceError(f"python:{where} is a {type(build).__name__}; name a class or a function")
    try:
        module = build(**arguments)
    # The code is the user's, and may raise anything.
    except (Exception, SystemExit) as error:
        advice = without_parts(build, arguments, error)
        if advice is None and isinstance(error, TypeError):
            advice = "Its keyword arguments are the recipe's [arguments], or --arg NAME=VALUE"
        words = described(error, code_folders(recipe)).rstrip(".")
        raise SourceError(f"python:{where}: {words}{f'. {advice}' if advice else ''}") from error
    if not isinstance(module, nn.Module):
        raise SourceError(
            f"python:{where} returns a {type(module).__name__}, not a torch.nn.Module. "
            "Name a function that returns the network alone"
        )
    return unwrapped(module)


def _with_weights(
    where: str, build: Build, checkpoint: Checkpoint, recipe: Recipe, progress: Progress
) -> nn.Module:
    """Build the network, with the arguments that the shapes of the weights show, and load these."""
    taken = {
        name: default
        for name, default in _integer_arguments(build).items()
        if name not in recipe.arguments
    }
    needed = {name: PROBE for name, default in taken.items() if default is None}
    module = None if needed else built(where, build, recipe, recipe.arguments)
    shown: dict[str, int] = {}
    if module is None or not _fits(module, checkpoint):
        shown = _shown_by(where, build, checkpoint, recipe, taken)
        module = built(where, build, recipe, recipe.arguments | shown)
    load_weights(module, checkpoint, progress=progress)
    if shown:
        listed = ", ".join(f"{name}={value}" for name, value in shown.items())
        progress.warn(f"{listed}, as the shapes of the weights show")
    return module


def _fits(module: nn.Module, checkpoint: Checkpoint) -> bool:
    own, state = weights_of(module, checkpoint)
    return all(name not in state or value.shape == state[name].shape for name, value in own.items())


def _shown_by(
    where: str,
    build: Build,
    checkpoint: Checkpoint,
    recipe: Recipe,
    taken: dict[str, int | None],
) -> dict[str, int]:
    """Return the arguments among those that the callable takes whose values the weights show."""
    classes = next((name for name in CLASS_ARGUMENTS if name in taken), None)
    channels = next((name for name in CHANNEL_ARGUMENTS if name in taken), None)
    probe = {name: PROBE for name in (classes,) if name is not None}
    try:
        module = built(where, build, recipe, recipe.arguments | probe)
    except SourceError:
        return {}  # building it as the recipe says gives the message
    own, state = weights_of(module, checkpoint)
    if any(name not in state and not IGNORED.search(name) for name in own):
        return {}
    shown: dict[str, int] = {}
    if channels is not None and (count := inferred_channels(own, state)) is not None:
        shown[channels] = count
    if classes is not None:
        count = PROBE if _fits(module, checkpoint) else inferred_classes(own, state, PROBE)
        if count is not None and count != taken[classes]:
            shown[classes] = count
    return shown


def _integer_arguments(build: Build) -> dict[str, int | None]:
    """Return the callable's arguments that take a whole number or have no default, with their defaults."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        one.name: one.default if isinstance(one.default, int) else None
        for one in parameters
        if one.default is one.empty
        or (isinstance(one.default, int) and not isinstance(one.default, bool))
    }
