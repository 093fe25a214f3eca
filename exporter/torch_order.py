"""The tensors that a module returns → those that the task's head reads, in its order, and the recipe for them."""

import torch
from torch import Tensor

from exporter.heads.arrange import arrange
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
    recipe, ordered = arrange(recipe, described, image_input, labels)
    return recipe, tuple(one.name for one in ordered)


def _described(name: str, tensor: Tensor, origin: str) -> Described:
    dims = (1, *tensor.shape[1:])
    is_integer = not tensor.is_floating_point() and tensor.dtype != torch.bool
    return Described(name, dims, is_integer, origin)


def _is_vector(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1 and set(tensor.shape[2:]) <= {1}
