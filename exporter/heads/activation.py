"""Scores → probabilities, as graph nodes and in numpy."""

from typing import Literal

import numpy as np

from exporter.graph import Graph
from exporter.network import Array

Activation = Literal["softmax", "sigmoid", "none"]


def grafted_activation(graph: Graph, scores: str, activation: Activation, axis: int) -> str:
    """Add the activation over an axis and return the probabilities' tensor."""
    if activation == "softmax":
        return graph.add("Softmax", [scores], axis=axis)
    return graph.add("Sigmoid", [scores]) if activation == "sigmoid" else scores


def activate(scores: Array, activation: Activation, axis: int) -> Array:
    """Return the probabilities of scores."""
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
        chances: Array = powers / powers.sum(axis=axis, keepdims=True)
        return chances
    return 1 / (1 + np.exp(-scores)) if activation == "sigmoid" else scores
