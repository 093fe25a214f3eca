"""Scores → probabilities, as graph nodes and in numpy."""

import numpy as np

from exporter.graph import Graph
from exporter.network import Array
from exporter.recipe_tables import Activation


def graft_activation(
    graph: Graph, scores: str, activation: Activation, axis: int, output: str | None = None
) -> str:
    """Add the activation over an axis and return the tensor of probabilities, named `output` where that is given.

    With `none` no node is added, and the tensor is that of the scores.
    """
    if activation == "softmax":
        return graph.add("Softmax", [scores], output=output, axis=axis)
    return graph.add("Sigmoid", [scores], output=output) if activation == "sigmoid" else scores


def activate(scores: Array, activation: Activation, axis: int) -> Array:
    """Return the probabilities of scores, in the same shape."""
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
        probabilities: Array = powers / powers.sum(axis=axis, keepdims=True)
        return probabilities
    return 1 / (1 + np.exp(-scores)) if activation == "sigmoid" else scores
