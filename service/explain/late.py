"""The error for an explanation that was not ready at its deadline: it says what to change."""

from service.errors import DeadlineError
from service.explain.request import ExplainRequest
from service.runtime.model import Model


def late_explanation(
    request: ExplainRequest, model: Model, allowed_seconds: float, *, heat_from_copies: bool
) -> DeadlineError:
    """Return the error.

    Args:
        request: its options of fixed cost are named.
        model: it is named, and its card says which views need no copies.
        allowed_seconds: the deadline that the request has from its start.
        heat_from_copies: what the view says of the request.
    """
    changes = ["Allow more time with X-Timeout-Ms"]
    fixed = {"samples": request.samples, "steps": request.steps}
    given = [f"{name}={value}" for name, value in fixed.items() if value is not None]
    if given:
        changes.append(f"leave out {' and '.join(given)}, so that the time left decides")
    if heat_from_copies and model.card.stages:
        changes.append("take view=cam&method=eigencam&score=false, which runs no copies")
    advice = ", or ".join(changes)
    return DeadlineError(
        f"view={request.view} of {model.name} was not ready within {allowed_seconds * 1e3:.7g} ms. {advice}."
    )
