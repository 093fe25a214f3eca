"""What a view is: one value says everything that distinguishes it from the other views."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from service.explain.explanation import Explanation
from service.explain.request import ExplainRequest, Form
from service.runtime.job import JobResult


def never(_: ExplainRequest) -> bool:
    return False


def always(_: ExplainRequest) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class View:
    """One kind of explanation.

    Args:
        name: its name in requests.
        summary: what it shows, in one line of the API's documentation.
        options: the fields of `ExplainOptions` that it uses, besides `view` and `format`.
        forms: the forms that it can return.
        result: the TypedDict of its JSON.
        run: returns the JSON, or a `RenderedImage` for the other forms. Raises FovealError.
        needs_image: whether it needs an image.
        needs_stages: whether it needs a card that lists stages.
        needs_classifier: whether it needs a network that gives class probabilities.
        heat_from_copies: whether the heat of a request comes from perturbed copies, so that EigenCAM, which runs none,
            answers sooner.
    """

    name: str
    summary: str
    options: frozenset[str]
    forms: frozenset[Form]
    result: type
    run: Callable[[Explanation], Awaitable[JobResult[Any]]]
    needs_image: bool = True
    needs_stages: bool = False
    needs_classifier: bool = False
    heat_from_copies: Callable[[ExplainRequest], bool] = never
