import math
from typing import Any

import pytest
from pydantic import ValidationError

from service.card import LONGEST_LABEL, Card, CardError, ImageInput
from tests.servables import color_card


@pytest.mark.parametrize(
    ("place", "allowed", "refused"),
    [
        ("input.height", (1, 16384), (0, 16385)),
        ("input.width", (1, 16384), (0, 16385)),
        ("input.pad_color.1", (0, 255), (-1, 256)),
        ("cost.parameters", (0, 10**12), (-1, 10**400)),
        ("cost.macs", (0, 10**15, 2**53 - 1), (-1, 2**53, 10**400)),
        ("cost.activation_bytes", (0,), (-1, 10**400)),
        ("certificate.max_difference", (0, 2.5), (-0.1, math.inf, math.nan)),
        ("certificate.tolerance", (1e-9,), (0, math.inf, math.nan)),
        ("certificate.batches", ([], [1, 16]), ([-1], [10**400])),
        ("scores", ({"top1": 0.5},), ({"top1": math.inf}, {"top1": math.nan})),
        ("labels", ([], ["a" * LONGEST_LABEL]), (["a" * (LONGEST_LABEL + 1)], [""] * 300_000)),
        ("background_id", (0, 2, None), (-1, 3, 10**400)),
        ("certificate.agreement", (0, 1), (-0.01, 1.01)),
        ("certificate.images", (0,), (-1,)),
        ("certificate.graph_sha256", ("f" * 64,), ("f" * 63, "f" * 65, "F" * 64)),
        ("backbone_sha256", ("0" * 64, None), ("0" * 63, "g" * 64)),
        ("max_batch", (1, None), (0, 10**400)),
        ("stages.0.channels", (1,), (0, 10**400)),
        ("stages.0.stride", (0.5,), (0, math.inf)),
        ("window.frames", (2, 1024), (1, 1025)),
        ("window.stride", (1, 1024), (0, 1025)),
        ("window.fps", (0.1, 240), (0, 241)),
        ("name", ("a", "a" * 64, "0.b_c-d"), ("", "a" * 65, "-a", "A")),
        ("format", (1,), (2,)),
        ("precision", ("fp32", "fp16", "int8"), ("fp8",)),
    ],
)
def test_a_card_holds_every_number_and_name_to_its_range(
    place: str, allowed: tuple[object, ...], refused: tuple[object, ...]
) -> None:
    for value in allowed:
        Card.model_validate(card_with(place, value))
    for value in refused:
        with pytest.raises(ValidationError, match=place.split(".", maxsplit=1)[0]):
            Card.model_validate(card_with(place, value))


def card_with(place: str, value: object) -> dict[str, Any]:
    """Return a card as JSON, with a value at `place`, names and numbers joined by dots."""
    card: dict[str, Any] = color_card().model_dump(mode="json")
    card["stages"] = [{"name": "s", "tensor": "t", "channels": 8, "stride": 2}]
    card["window"] = {"frames": 4, "stride": 2, "fps": 2}
    inner: Any = card
    *way, last = [int(part) if part.isdecimal() else part for part in place.split(".")]
    for part in way:
        inner = inner[part]
    inner[last] = value
    return card


@pytest.mark.parametrize("place", ["labels.0", "title", "stages.0.name"])
def test_what_is_shown_on_a_line_has_no_control_characters(place: str) -> None:
    card = Card.model_validate(card_with(place, "a\r\n2026 error: b\x1b[2J\u2028c\t"))
    shown = {"labels.0": card.labels[0], "title": card.title, "stages.0.name": card.stages[0].name}
    assert shown[place] == "a 2026 error: b [2J c"
    kept = " no\u00a0break, \u200f\u05d0, \U0001f469\u200d\U0001f52c "
    assert Card.model_validate(card_with("title", kept)).title == kept


def test_a_card_can_not_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        color_card().name = "other"  # type: ignore[misc]


def test_defaults_are_those_of_most_networks() -> None:
    given = ImageInput(height=8, width=6, shorter_side=8)
    assert (given.resize, given.interpolation, given.pad_color) == ("crop", "bilinear", (114,) * 3)
    card = color_card()
    assert (card.format, card.precision, card.multi_label, card.scores) == (1, "fp32", False, {})
    assert (card.background_id, card.max_batch, card.stages, card.window) == (None, None, (), None)


def test_an_image_input_is_what_the_card_says() -> None:
    assert color_card().image_input == color_card().input


def test_a_crop_needs_the_side_it_is_cut_from() -> None:
    with pytest.raises(ValidationError, match="shorter_side"):
        ImageInput(height=8, width=8, resize="crop")
    for height, width in ((8, 4), (4, 8)):
        ImageInput(height=height, width=width, resize="crop", shorter_side=8)
        with pytest.raises(ValidationError, match="smaller than the region"):
            ImageInput(height=height, width=width, resize="crop", shorter_side=7)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_only_a_crop_needs_a_side(resize: Any) -> None:
    assert ImageInput(height=8, width=8, resize=resize).shorter_side is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"input": None}, "needs an input"),
        ({"input": None, "backbone": "eye"}, "digest of the backbone"),
        ({"input": None, "backbone": "eye", "backbone_sha256": "0" * 64}, "its window"),
        ({"task": "No Task"}, "task"),
        ({"name": "../etc"}, "name"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(change: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Card.model_validate({**color_card().model_dump(), **change})


def test_a_temporal_card_has_no_image() -> None:
    card = Card.model_validate(
        {
            **color_card().model_dump(),
            "task": "temporal",
            "backbone": "eye",
            "input": None,
            "backbone_sha256": "0" * 64,
            "window": {"frames": 4, "stride": 2, "fps": 2},
        }
    )
    with pytest.raises(CardError, match="not images"):
        _ = card.image_input
