"""The tensors that a module returns → those that the task's head reads, in its order, and the recipe for them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from exporter.errors import RecipeError
from exporter.heads.arrange import arrange
from exporter.heads.raw_tensor import Dims
from exporter.heads.raw_tensor import Tensor as Described
from exporter.heads.score_origin import value_origins
from exporter.recipe import Recipe
from exporter.torch_outputs import choose_outputs, named_tensors
from service.card import ImageInput


def order_outputs(
    output: object, recipe: Recipe, image_input: ImageInput, labels: int
) -> tuple[Recipe, tuple[str, ...]]:
    """Return the names of the tensors that the task reads, in the order of its head, and the recipe with their form.

    Args:
        output: what the module returned.
        recipe: what it states is not changed.
        image_input: the network's.
        labels: how many labels are known, 0 where none are.

    Raises:
        GraphError: there is no tensor in the output.
        RecipeError: a stated name is none of the output's, or which tensor to take can not be known.
    """
    names = choose_outputs(output, recipe.task, recipe.outputs)
    if recipe.outputs:
        return recipe, names
    found = dict(named_tensors(output))
    origins = value_origins(
        {name: found[name].float().numpy() for name in names if _is_vector(found[name])}
    )
    described = [_described(name, found[name], origins.get(name, "")) for name in names]
    if recipe.task == "segment":
        described = _maps(described, labels)
    recipe, ordered = arrange(recipe, described, image_input, labels)
    return recipe, tuple(one.name for one in ordered)


def _described(name: str, tensor: Tensor, origin: str) -> Described:
    dims = (1, *tensor.shape[1:])
    is_integer = not tensor.is_floating_point() and tensor.dtype != torch.bool
    return Described(name, dims, is_integer, origin)


def _is_vector(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1 and set(tensor.shape[2:]) <= {1}


def _maps(outputs: Sequence[Described], labels: int) -> list[Described]:
    """Return the outputs with the map of the labels in front, where their number shows it.

    Raises:
        RecipeError: several maps could be the one.
    """
    maps = [one for one in outputs if len(one.dims) == 4 and not one.is_integer]
    suitable = [one for one in maps if _suits(one.dims, labels)] or maps
    if len(suitable) > 1:
        listed = ", ".join(f"{one.name} {one.dims}" for one in suitable)
        raise RecipeError(
            f"The network returns several maps for one image, {listed}, and each could be the scores of the classes. "
            f"Name the one to take: --outputs {suitable[0].name}"
        )
    return [*suitable, *(one for one in outputs if one not in suitable)]


def _suits(dims: Dims, labels: int) -> bool:
    return dims[1] == labels or (dims[1] == 1 and labels == 2)
