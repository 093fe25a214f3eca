"""Sizes near a given one that fill the patches and windows which the configuration of a network states."""

from typing import Any

from service.card import ImageInput

Config = Any
"""The configuration of a network of Transformers, one class for each kind."""

_PARTS = ("backbone_config", "vision_config")
"""Where the configuration of a backbone is inside that of its network."""

_STRIDE = 32
"""Of the deepest maps of most backbones without patches."""


def near_sizes(config: Config, image_input: ImageInput) -> list[tuple[int, int]]:
    """Return heights and widths in pixels that the network may accept where it does not accept the input's.

    First the nearest multiples of its patches and windows, the finest ones first, then the size that it states. The
    input's own size is not among them.
    """
    parts = [config, *(getattr(config, name, None) for name in _PARTS)]
    steps = [step for part in parts for step in _steps(part)] or [_STRIDE]
    height, width = image_input.height, image_input.width
    sizes = [(_nearest(height, step), _nearest(width, step)) for step in sorted(set(steps))]
    sizes += [size for part in parts for size in _stated(part)]
    return [size for size in dict.fromkeys(sizes) if size != (height, width)]


def _steps(part: Config) -> list[int]:
    """Return a patch in pixels, then as many patches as there are windows along a side."""
    patch = getattr(part, "patch_size", None)
    if not isinstance(patch, int) or patch < 1:
        return []
    windows = [getattr(part, name, None) for name in ("num_windows_side", "num_windows")]
    return [patch, *(patch * count for count in windows if isinstance(count, int) and count > 0)]


def _stated(part: Config) -> list[tuple[int, int]]:
    size = getattr(part, "image_size", None)
    if isinstance(size, int):
        return [(size, size)]
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return [(int(size[0]), int(size[1]))]
    return []


def _nearest(side: int, step: int) -> int:
    return max(step, round(side / step) * step)
