"""What contradicts itself in the size of the input and the way in which images are fitted to it."""

from collections.abc import Mapping
from typing import Any

from exporter.errors import RecipeError
from service.card import ResizePolicy

_READ_BY: dict[str, ResizePolicy] = {
    "shorter_side": "crop",
    "pad_color": "letterbox",
    "placement": "letterbox",
}
"""Fields that only one policy reads."""


def refuse_unread(stated: Mapping[str, Any], resize: ResizePolicy) -> None:
    """Refuse a field that the policy does not read.

    Args:
        stated: the fields of a recipe's input that it states.
        resize: the policy, stated or the source's.

    Raises:
        RecipeError: names the option.
    """
    for name, policy in _READ_BY.items():
        if stated.get(name) is not None and resize != policy:
            raise RecipeError(
                f"--{name.replace('_', '-')}: only --resize {policy} reads this, and images are fitted by {resize}. "
                f"Leave it out, or give --resize {policy}"
            )


def refuse_small_side(merged: Mapping[str, Any]) -> None:
    """Refuse a crop of more than an image's shorter side.

    Args:
        merged: height, width and shorter_side, each stated or the source's.

    Raises:
        RecipeError: names the sizes.
    """
    side, longer = merged["shorter_side"], max(merged["height"], merged["width"])
    if side >= longer:
        return
    raise RecipeError(
        f"--shorter-side {side} is less than {longer}, the longer side of the input "
        f"{merged['height']}×{merged['width']} that is cut out of the image. Give --shorter-side N, at least {longer}"
    )
