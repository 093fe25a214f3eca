"""Scores → probabilities, as graph nodes and in numpy."""

import numpy as np

from exporter.graph import Graph, floats
from exporter.network import Array, Head
from exporter.recipe_tables import Activation

PERCENT = 0.01
"""What a percentage is multiplied by."""

GIVEN: frozenset[Activation] = frozenset({"none", "percent", "exp"})
"""What makes probabilities of scores that are some already, perhaps in another notation."""


def activation_words(head: Head) -> str | None:
    """Return what makes probabilities of a head's raw scores, for reports; None for a head without probabilities."""
    activation: str | None = getattr(head, "activation", None)
    scores: str = getattr(head, "scores", "logits")
    if activation is not None and scores != "logits":
        return f"{scores}, inside the network"
    if getattr(head, "assumes_logit", False):
        return f"{activation}; that the one score is a logit is ASSUMED"
    if getattr(head, "assumes_softmax", False):
        one = "a pixel" if head.task == "segment" else "an image"
        return f"{activation}; that {one} has one class is ASSUMED"
    return activation


def graft_activation(
    graph: Graph, scores: str, activation: Activation, axis: int, output: str | None = None
) -> str:
    """Add the activation over an axis and return the tensor of probabilities, named `output` where that is given.

    With `none` no node is added, and the tensor is that of the scores.
    """
    match activation:
        case "softmax":
            return graph.add("Softmax", [scores], output=output, axis=axis)
        case "sigmoid":
            return graph.add("Sigmoid", [scores], output=output)
        case "percent":
            factor = graph.constant("percent", floats(PERCENT))
            return graph.add("Mul", [scores, factor], output=output)
        case "exp":
            return graph.add("Exp", [scores], output=output)
        case "none":
            return scores


def activate(scores: Array, activation: Activation, axis: int) -> Array:
    """Return the probabilities of scores, in the same shape."""
    match activation:
        case "softmax":
            powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
            probabilities: Array = powers / powers.sum(axis=axis, keepdims=True)
            return probabilities
        case "sigmoid":
            return 1 / (1 + np.exp(-scores))
        case "percent":
            shares: Array = scores * np.asarray(PERCENT, scores.dtype)
            return shares
        case "exp":
            given: Array = np.exp(scores)
            return given
        case "none":
            return scores
