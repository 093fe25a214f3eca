"""Which head finishes a raw graph: chosen by the recipe's task and the shapes of the graph's outputs."""

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.classify import ClassifyHead
from exporter.network import Head
from exporter.recipe import Recipe


def choose_head(recipe: Recipe, graph: Graph) -> Head:
    """Return the head for the recipe's task.

    Raises:
        RecipeError: the graph's outputs are none that the task can be made from.
    """
    dims = output_dims(graph, 0)
    if recipe.task == "classify":
        if len(dims) != 2 or not dims[1]:
            raise RecipeError(
                f"--task classify needs one score a class, (N, K); the network gives {dims}"
            )
        return ClassifyHead(dims[1], recipe.multi_label)
    raise RecipeError(f"--task {recipe.task} is not known")


def output_dims(graph: Graph, index: int) -> tuple[int, ...]:
    """Return the dimensions of an output; a free one is 0."""
    shape = graph.proto.output[index].type.tensor_type.shape
    return tuple(dim.dim_value for dim in shape.dim)
