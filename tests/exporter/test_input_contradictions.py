"""Sizes and policies that contradict each other are refused, and a field that nothing reads."""

from typing import Any

import pytest

from exporter.errors import RecipeError
from exporter.recipe import make_recipe
from service.card import ImageInput

CROP = ImageInput(height=32, width=48, resize="crop", shorter_side=56)
STRETCH = ImageInput(height=32, width=48, resize="stretch")
MINIMAL = {"source": "onnx:net.onnx", "task": "classify", "name": "net"}


def settled(known: ImageInput | None, **stated: Any) -> ImageInput:
    return make_recipe({**MINIMAL, "input": stated}).image_input(known)


@pytest.mark.parametrize(
    ("known", "stated", "words"),
    [
        (CROP, {"pad_color": (1, 2, 3)}, "--pad-color: only --resize letterbox reads this"),
        (CROP, {"placement": "corner"}, "--placement: only --resize letterbox reads this"),
        (STRETCH, {"shorter_side": 56}, "--shorter-side: only --resize crop reads this"),
        (CROP, {"resize": "letterbox", "shorter_side": 64}, "images are fitted by letterbox"),
        (CROP, {"shorter_side": 40}, "--shorter-side 40 is less than 48, the longer side"),
        (CROP, {"height": 64, "shorter_side": 56}, "Give --shorter-side N, at least 64"),
        (None, {"height": 32}, "give --height and --width"),
    ],
)
def test_what_contradicts_itself_is_refused_by_its_option(
    known: ImageInput | None, stated: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        settled(known, **stated)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("known", "stated", "expected"),
    [
        # 56 of 48 is the source's share of the longer side.
        (CROP, {"height": 64}, CROP.model_copy(update={"height": 64, "shorter_side": 64 * 56 // 48})),
        (STRETCH, {"resize": "crop"}, CROP.model_copy(update={"shorter_side": 48})),
        (CROP, {"resize": "stretch"}, STRETCH),
        (STRETCH, {"resize": "crop", "shorter_side": 48}, CROP.model_copy(update={"shorter_side": 48})),
        (None, {"height": 32, "width": 48}, CROP.model_copy(update={"shorter_side": 48})),
    ],
)  # fmt: skip
def test_what_fits_together_is_taken(
    known: ImageInput | None, stated: dict[str, Any], expected: ImageInput
) -> None:
    assert settled(known, **stated) == expected
