"""What a view says of itself where it says nothing, and whether heat comes from copies."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from service.explain.request import ExplainRequest
from service.explain.view import View, always, never
from service.explain.views import VIEWS


async def nothing(_: object) -> Any:
    raise AssertionError("it is not run")


PLAIN = View("plain", "Nothing.", frozenset(), frozenset({"json"}), dict, nothing)


def test_a_view_needs_an_image_and_nothing_else_unless_it_says_so() -> None:
    assert PLAIN.needs_image
    assert not PLAIN.needs_stages
    assert not PLAIN.needs_classifier
    assert PLAIN.heat_from_copies(ExplainRequest("plain", "json")) is False


def test_a_view_is_a_value_that_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        PLAIN.name = "other"  # type: ignore[misc]


def test_never_and_always_do_not_look_at_the_request() -> None:
    for request in (ExplainRequest("cam", "json"), ExplainRequest("rise", "heat", samples=9)):
        assert never(request) is False
        assert always(request) is True


# docs/explain.md: occlusion and RISE run perturbed copies; CAM does unless it is EigenCAM without a score.
@pytest.mark.parametrize(
    ("view", "copies"), [("occlusion", True), ("rise", True), ("filters", False), ("maps", False), ("patterns", False)]
)  # fmt: skip
def test_heat_of_perturbed_copies_is_known_for_each_view(view: str, *, copies: bool) -> None:
    assert VIEWS[view].heat_from_copies(ExplainRequest(view, "json")) is copies
