"""`view=logit`: how the features of an image add up to the score of a class."""

from functools import partial
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.errors import InvalidParameterError
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.steps import exact
from service.explain.view import View
from service.graph.anatomy import Anatomy
from service.graph.linear_head import LastLayer
from service.heads.outputs import Outputs
from service.heads.rounding import finite
from service.heads.targets import ClassFigures, ClassTarget
from service.imaging.source_image import SourceImage
from service.runtime.job import JobResult


@with_config(ConfigDict(extra="forbid"))
class ContributionFigures(TypedDict):
    """What one feature adds to the logit."""

    channel: Annotated[int, Field(description="The feature's place in the vector, from 0")]
    feature: Annotated[float, Field(description="Its value for this image")]
    weight: Annotated[float, Field(description="Its weight for the class")]
    contribution: Annotated[float, Field(description="Their product")]


@with_config(ConfigDict(extra="forbid"))
class RestFigures(TypedDict):
    """The features of one sign that are not listed."""

    features: int
    contribution: Annotated[float, Field(description="The sum of their products")]


@with_config(ConfigDict(extra="forbid"))
class LogitResult(TypedDict):
    """A class's logit as a sum; `width` and `height` are the displayed image's."""

    view: Literal["logit"]
    width: int
    height: int
    target: ClassFigures
    features: Annotated[int, Field(description="How many features the last layer weighs")]
    stage: Annotated[
        str | None,
        Field(
            description="The stage whose channels, each averaged over its map, are the features; null where they are "
            "no such averages"
        ),
    ]
    positive: Annotated[
        list[ContributionFigures], Field(description="What speaks for the class, most first")
    ]
    negative: Annotated[
        list[ContributionFigures], Field(description="What speaks against it, most first")
    ]
    positive_rest: RestFigures
    negative_rest: RestFigures
    bias: float
    sum: Annotated[float, Field(description="Of all contributions and the bias")]
    logit: Annotated[float, Field(description="What the network computed; equal but for rounding")]


def explain_logit(
    outputs: Outputs,
    _: Frame,
    source: SourceImage,
    *,
    explanation: Explanation,
    layer: LastLayer,
) -> LogitResult:
    """Return the largest contributions to a class's logit, and the sum of all.

    Args:
        outputs: holds the logits (K,) and the vector that the last layer weighs, (C,) or (C, 1, 1).
        source: the image.
        explanation: its request names the class and how many contributions of each sign are listed.
        layer: the last layer.

    Raises:
        InvalidParameterError: the layer weighs more than one vector.
    """
    target = explanation.choose_target(outputs, source)
    assert isinstance(target, ClassTarget), "the view needs a classifier"
    features = finite(outputs[layer.input]).ravel().astype(np.float64)
    weights = layer.weights[target.class_id].astype(np.float64)
    if features.shape != weights.shape:
        raise InvalidParameterError(
            f"view: the last layer of {explanation.card.name} weighs {features.size} numbers with {weights.size} "
            "weights, so its logits are not one sum of features. Take view=cam."
        )
    products = features * weights
    order = np.argsort(-products, kind="stable")
    count = explanation.request.count
    positive = [index for index in order[:count].tolist() if products[index] > 0]
    negative = [index for index in order[::-1][:count].tolist() if products[index] < 0]
    bias = float(layer.bias[target.class_id])
    total = float(products.sum())

    def figures(indices: list[int]) -> list[ContributionFigures]:
        return [_contribution(index, features, weights) for index in indices]

    return {
        "view": "logit",
        "width": source.geometry.width,
        "height": source.geometry.height,
        "target": target.figures(),
        "features": features.size,
        "stage": _pooled_stage(explanation),
        "positive": figures(positive),
        "negative": figures(negative),
        "positive_rest": _rest(products[products > 0], products[positive]),
        "negative_rest": _rest(products[products < 0], products[negative]),
        "bias": exact(bias),
        "sum": exact(total + bias),
        "logit": exact(outputs["logits"][target.class_id]),
    }


def _contribution(
    index: int, features: NDArray[np.float64], weights: NDArray[np.float64]
) -> ContributionFigures:
    return {
        "channel": index,
        "feature": exact(features[index]),
        "weight": exact(weights[index]),
        "contribution": exact(features[index] * weights[index]),
    }


def _rest(products: NDArray[np.float64], listed: NDArray[np.float64]) -> RestFigures:
    return {
        "features": len(products) - len(listed),
        "contribution": exact(products.sum() - listed.sum()),
    }


def _pooled_stage(explanation: Explanation) -> str | None:
    head = explanation.anatomy.head
    stages = explanation.card.stages if head is not None else ()
    return next((stage.name for stage in stages if head and stage.tensor == head.map), None)


def _layer(name: str, anatomy: Anatomy) -> LastLayer:
    if anatomy.last is None:
        raise InvalidParameterError(
            f"view: the last layer of {name} is not one linear layer over a vector of features, so its logits are no "
            "sum of features times weights. view=cam&method=rise and view=occlusion work for any network."
        )
    return anatomy.last


async def _run(explanation: Explanation) -> JobResult[LogitResult]:
    layer = _layer(explanation.card.name, explanation.anatomy)
    head = partial(explain_logit, explanation=explanation, layer=layer)
    return await explanation.run_explainer(head)


LOGIT = View(
    name="logit",
    summary="which features times which weights add up to the score of a class",
    options=frozenset({"class_name", "count"}),
    forms=frozenset({"json"}),
    result=LogitResult,
    run=_run,
    needs_classifier=True,
)
