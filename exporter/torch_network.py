"""Any PyTorch module, with what its source knows about it → a network ready to be finished and proved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from exporter.heads.choice import choose_head
from exporter.network import Facts, Network
from exporter.recipe import Pixels, Recipe
from exporter.steps import Steps
from exporter.tracing import TorchReference, torch_name, trace
from exporter.transforms import plain_transform
from service.card import PictureInput


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A module with its weights, and what its source knows about pictures for it.

    `transform` is the framework's own way from encoded bytes to pixel values, where it has one.
    """

    module: nn.Module
    facts: Facts
    picture: PictureInput | None = None
    pixels: Pixels | None = None
    transform: Callable[[bytes], NDArray[np.float32]] | None = None
    proof: tuple[bytes, ...] = ()


def torch_network(model: TorchModel, recipe: Recipe, steps: Steps) -> Network:
    """Trace the module and choose its head.

    Raises:
        ExportError: the recipe and the module do not fit together, or the module can not be traced.
    """
    picture = recipe.picture(model.picture)
    pixels = recipe.pixels or model.pixels or Pixels()
    module = model.module.eval()
    steps.begin("Trace the network")
    graph, raw, output_dims = trace(module, picture, pixels)
    said_otherwise = recipe.pixels is not None or picture != model.picture
    own = None if said_otherwise else model.transform
    of_picture = own or plain_transform(picture, pixels)
    return Network(
        graph=graph,
        raw=raw,
        head=choose_head(recipe, output_dims),
        reference=TorchReference(torch_name(), module, pixels, of_picture),
        picture=picture,
        pixels=pixels,
        facts=model.facts,
        proof=model.proof,
    )
