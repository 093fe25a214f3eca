"""One task value: its names, its networks and its renderings."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from service.card import Card
from service.errors import InvalidParameterError, TooManyPixelsError
from service.imaging.decode import Limits
from service.imaging.geometry import Geometry
from service.imaging.source_image import SourceImage
from service.media_types import JPEG, PNG
from service.tasks.task import OverTime, Task, TaskOptions, drawn
from tests.servables import color_card


class Result(dict[str, int]):
    """A result."""


def square(outputs: Any, source: Any, card: Card, options: Any) -> Image.Image:
    assert (outputs, card.name, options) == ({}, "colors", "options")
    return Image.new("RGB", (source.geometry.width, source.geometry.height), "red")


def source_of(width: int, height: int) -> SourceImage:
    return SourceImage(b"", Geometry(width, height, (0, 0, 1, 1), (0, 0, 1, 1)), Limits())


def begin(_: Any, __: Card) -> Any:
    """Begin no video."""
    raise AssertionError


TASK = Task("mean_color", "The mean color", ("features",), TaskOptions, Result, head=None)


@pytest.mark.parametrize(
    ("name", "type_name"), [("classify", "Classify"), ("mean_color", "MeanColor"), ("a_1", "A1")]
)
def test_the_name_of_a_task_in_the_form_of_types(name: str, type_name: str) -> None:
    assert replace(TASK, name=name).type_name == type_name


def test_a_name_has_32_characters_at_most() -> None:
    assert replace(TASK, name="a" * 32).name == "a" * 32
    with pytest.raises(ValueError, match="up to 32"):
        replace(TASK, name="a" * 33)


def test_a_task_uses_its_own_networks_or_those_that_it_names() -> None:
    assert TASK.networks == ("mean_color",)
    assert replace(TASK, models=("embed", "classify")).networks == ("embed", "classify")


def test_an_option_of_a_video_that_every_request_has_is_refused() -> None:
    class Own(TaskOptions):
        fps: int = 1
        model: str = ""

    over_time = OverTime(Own, begin=begin, frame=Result, summary=Result)
    with pytest.raises(ValueError, match=r"mean_color: every request has fps, model$"):
        replace(TASK, over_time=over_time)


def test_an_unknown_rendering_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidParameterError, match=r"no 'mask'\. Formats: none\."):
        TASK.rendering("mask")
    swatch = drawn("a square", square)
    task = replace(TASK, renderings={"swatch": swatch, "square": swatch})
    assert task.rendering("swatch") is swatch
    with pytest.raises(InvalidParameterError, match=r"Formats: swatch, square\."):
        task.rendering("")


@pytest.mark.parametrize(("media_type", "form"), [(PNG, "PNG"), (JPEG, "JPEG")])
def test_what_is_drawn_is_encoded_as_it_is_wanted(media_type: str, form: str) -> None:
    swatch = drawn("a square", square, (PNG, JPEG))
    rendered = swatch.render({}, source_of(8, 6), color_card(), "options", media_type)
    image = Image.open(BytesIO(rendered.content))
    assert (image.format, image.size) == (form, (8, 6))
    assert rendered.media_type == media_type


def test_a_png_in_colors_is_bounded() -> None:
    """Of a photograph of 64 million pixels it takes 4 s, and of noise 5 s."""
    colors = drawn("a swatch", square, (PNG, JPEG))
    colors.require(PNG, 24_000_000)
    colors.require(JPEG, 64_000_000)
    drawn("a mask", square, has_colors=False).require(PNG, 64_000_000)
    with pytest.raises(TooManyPixelsError, match="24000001 pixels is more than the 24 million"):
        colors.require(PNG, 24_000_001)


def test_options_and_models_are_taken_as_they_are_unless_a_task_says_otherwise() -> None:
    options = TaskOptions()
    assert TASK.settle(options, color_card()) is options
    drawn("a square", square).check(color_card())
