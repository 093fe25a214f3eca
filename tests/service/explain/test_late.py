"""The error of an explanation that was late says what may be changed."""

from dataclasses import replace
from typing import Any, cast

import pytest

from service.explain.late import late_explanation
from service.explain.request import ExplainRequest
from service.runtime.model import Model
from tests.service.explain.networks import tiny_card

REQUEST = ExplainRequest("cam", "json")


class Named:
    """A model, as far as messages look at it."""

    def __init__(self, *, has_stages: bool) -> None:
        card = tiny_card("classify")
        self.card = card if has_stages else card.model_copy(update={"stages": ()})
        self.name = card.name


def message(*, stages: bool = True, copies: bool = True, seconds: float = 2, **options: Any) -> str:
    error = late_explanation(
        replace(REQUEST, **options),
        cast("Model", Named(has_stages=stages)),
        seconds,
        heat_from_copies=copies,
    )
    assert error.status == 504
    return str(error)


ALLOW = "Allow more time with X-Timeout-Ms"
EIGENCAM = "take view=cam&method=eigencam&score=false, which runs no copies"


def test_it_names_the_view_the_model_and_the_time() -> None:
    assert message(copies=False) == (
        f"view=cam of tiny-classify was not ready within 2000 ms. {ALLOW}."
    )
    assert "view=rise of" in message(view="rise")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(30, "30000 ms"), (0.25, "250 ms"), (1.2345, "1234.5 ms"), (3600, "3600000 ms")],
)
def test_the_time_is_in_milliseconds(seconds: float, shown: str) -> None:
    assert f"within {shown}. " in message(seconds=seconds)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"samples": 4000}, "leave out samples=4000, so that the time left decides"),
        ({"steps": 0}, "leave out steps=0, so that the time left decides"),
        (
            {"samples": 9, "steps": 7},
            "leave out samples=9 and steps=7, so that the time left decides",
        ),
    ],
)
def test_options_of_fixed_cost_may_be_left_out(options: dict[str, Any], advice: str) -> None:
    assert message(copies=False, **options).endswith(f"{ALLOW}, or {advice}.")
    assert message(**options).endswith(f"{ALLOW}, or {advice}, or {EIGENCAM}.")


def test_eigencam_is_named_where_it_would_answer_sooner() -> None:
    assert message().endswith(f"{ALLOW}, or {EIGENCAM}.")
    assert EIGENCAM not in message(stages=False)
    assert EIGENCAM not in message(copies=False)
