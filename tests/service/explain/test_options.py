import re
from typing import Any

import pytest
from pydantic import ValidationError

from service.card import Card
from service.errors import InvalidParameterError
from service.explain.options import (
    ExplainOptions,
    FiltersOptions,
    explain_request,
    filters_request,
)
from service.explain.request import ExplainRequest, Form
from service.explain.views import VIEWS
from tests.service.explain.networks import STAGE, tiny_card

CLASSIFY, SEGMENT, DETECT = map(tiny_card, ("classify", "segment", "detect"))
BARE = CLASSIFY.model_copy(update={"stages": ()})


def request(card: Card, form: Form = "json", **options: Any) -> ExplainRequest:
    return explain_request(ExplainOptions.model_validate(options), card, form)


def test_classes_and_stages_are_looked_up() -> None:
    found = request(CLASSIFY, view="cam", stage="stage_1", class_name="Green")
    assert found == ExplainRequest("cam", "json", stage=STAGE, class_id=1)


def test_every_option_reaches_the_request() -> None:
    found = request(DETECT, view="rise", box=2, samples=9, seed=3, steps=5, class_name="2")
    assert found == ExplainRequest("rise", "json", class_id=2, box=2, samples=9, seed=3, steps=5)
    assert not request(CLASSIFY, view="rise", score=False).score
    found = request(CLASSIFY, view="maps", stage="stage_1", channel=3, channels=7, thumbnails=True)
    assert found == ExplainRequest(
        "maps", "json", stage=STAGE, channel=3, channels=7, thumbnails=True
    )
    assert request(CLASSIFY, view="patterns", count=4).count == 4
    assert request(CLASSIFY, view="cam", method="rise").method == "rise"


@pytest.mark.parametrize("view", ["cam", "occlusion", "rise", "story"])
def test_a_box_is_of_a_detector(view: str) -> None:
    assert request(DETECT, view=view, box=3).box == 3
    for card in (CLASSIFY, SEGMENT):
        for box in (0, 3):
            with pytest.raises(InvalidParameterError, match=f"box.*task detect.*{card.task}"):
                request(card, view=view, box=box)


@pytest.mark.parametrize("view", VIEWS)
def test_an_option_that_a_view_does_not_use_is_refused(view: str) -> None:
    values: dict[str, Any] = {
        "stage": "stage_1",
        "channel": 0,
        "channels": 2,
        "count": 2,
        "class_name": "red",
        "box": 0,
        "method": "auto",
        "samples": 9,
        "seed": 1,
        "score": True,
        "steps": 5,
        "thumbnails": True,
    }
    for name in values.keys() - VIEWS[view].options:
        with pytest.raises(InvalidParameterError, match=f"view={view} does not use it"):
            request(CLASSIFY, view=view, **{name: values[name]})


def test_a_refused_option_is_named_as_a_client_writes_it() -> None:
    with pytest.raises(InvalidParameterError, match=r"^class: view=maps does not use it"):
        request(CLASSIFY, view="maps", class_name="red")
    with pytest.raises(InvalidParameterError, match="but class, seed"):
        request(CLASSIFY, view="probe", steps=4)


@pytest.mark.parametrize(
    ("card", "options", "detail"),
    [
        (BARE, {"view": "maps"}, "lists no `stages`"),
        (BARE, {"view": "story"}, "input, filters, convolution, logit, occlusion, rise, probe"),
        (BARE, {"view": "cam", "method": "eigencam"}, "lists no `stages`"),
        (BARE, {"view": "cam", "stage": "stage_1"}, "lists no `stages`"),
        (SEGMENT, {"view": "probe"}, "name a classifier"),
        (CLASSIFY, {"view": "maps", "stage": "stage_9"}, "Stages: stage_1."),
        (CLASSIFY, {"view": "maps", "channel": 0}, "name its stage too"),
        (CLASSIFY, {"view": "maps", "stage": "stage_1", "channel": 4}, "channels 0 to 3, not 4"),
        (CLASSIFY, {"view": "cam", "class": "reed"}, "near: red"),
        (CLASSIFY, {"view": "cam", "class": "3"}, "0 to 2"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    card: Card, options: dict[str, Any], detail: str
) -> None:
    with pytest.raises(InvalidParameterError, match=re.escape(detail)):
        request(card, **options)


@pytest.mark.parametrize(
    ("options", "detail"),
    [
        ({"method": "rise", "stage": "stage_1"}, "stage: method=rise does not use it"),
        ({"method": "cam", "stage": "stage_1"}, "stage: method=cam does not use it"),
        ({"method": "cam", "samples": 9}, "samples: method=cam does not use it"),
        ({"method": "cam", "seed": 1}, "seed: method=cam does not use it"),
        ({"method": "eigencam", "samples": 9}, "take method=rise"),
        ({"method": "eigencam", "seed": 1}, "take method=rise"),
        ({"stage": "stage_1", "samples": 9}, "samples: EigenCAM of a stage does not use it"),
        ({"method": "rise", "stage": "stage_1", "samples": 9}, "take method=eigencam"),
    ],
)
def test_an_option_that_the_method_does_not_use_is_refused(
    options: dict[str, Any], detail: str
) -> None:
    with pytest.raises(InvalidParameterError, match=re.escape(detail)):
        request(CLASSIFY, view="cam", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "rise", "samples": 9, "seed": 1},
        {"method": "eigencam", "stage": "stage_1"},
        {"stage": "stage_1"},
        {"samples": 9, "seed": 1},
        {"method": "cam", "samples": None},
    ],
)
def test_an_option_that_the_method_uses_is_taken(options: dict[str, Any]) -> None:
    assert request(CLASSIFY, view="cam", **options).view == "cam"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("form", ["overlay", "heat"])
def test_only_views_with_a_heat_are_drawn_as_one(view: str, form: Form) -> None:
    stage = {"stage": "stage_1", "channel": 0} if view == "maps" else {}
    if form in VIEWS[view].forms:
        assert request(CLASSIFY, form, view=view, **stage).form == form
    else:
        with pytest.raises(
            InvalidParameterError, match=r"has no heat; take json( or (sheet|npy))?$"
        ):
            request(CLASSIFY, form, view=view)


def test_an_overlay_of_maps_needs_one_channel() -> None:
    with pytest.raises(InvalidParameterError, match="name its stage and channel"):
        request(CLASSIFY, "overlay", view="maps", stage="stage_1")


def test_the_views_are_listed_where_there_is_no_such_view() -> None:
    with pytest.raises(ValidationError, match="'filters', 'convolution', 'maps'"):
        ExplainOptions.model_validate({"view": "dreams"})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="stagee"):
        ExplainOptions.model_validate({"view": "maps", "stagee": "stage_1"})
    with pytest.raises(ValidationError, match="view"):
        FiltersOptions.model_validate({"view": "maps"})


def test_fields_of_a_subclass_are_not_taken_for_options() -> None:
    class Query(ExplainOptions):
        model: str | None = None

    query = Query.model_validate({"view": "filters", "model": "tiny"})
    assert explain_request(query, CLASSIFY, "json") == ExplainRequest("filters", "json")


def test_the_class_is_given_by_its_parameters_name() -> None:
    assert ExplainOptions.model_validate({"view": "cam", "class": "red"}).class_name == "red"


def test_filters_have_options_of_their_own() -> None:
    options = FiltersOptions(thumbnails=True)
    assert filters_request(options, "sheet") == ExplainRequest("filters", "sheet", thumbnails=True)
    with pytest.raises(InvalidParameterError, match="has no heat"):
        filters_request(options, "heat")
