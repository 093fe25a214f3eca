"""Whether a segmenter's maps lie on the image as they are read: they must move with it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.network import Array

IMAGES = 4
"""The number of images that are moved, at most."""

CLEAR = 0.8
"""The least correlation, of moved maps with those of the moved image, that shows how they move."""

UNCLEAR = 0.5
"""Maps that have more as they are read are not judged."""

STRIDE = 32
"""Images are moved by a multiple of this where they are large enough, since a network with strides sees others else."""

CLEARLY = 0.2
"""Maps must move in another way by so much better than not at all: some are decided by the place alone."""

EXACT = 0.95
"""The least correlation of maps that move as far as the image does, whatever their size is."""

FAR_LESS_WRONG = 5
"""By how much less such maps must differ from those of the moved image than maps do that move as their size says."""

LEAST_WRONG = 0.01
"""Maps that differ by less, moved as their size says, are not judged by how far they move."""

_COLUMNS = -1
_ROWS = -2
_RIGHT = "right"
_STILL = "still"
_INNER = "inner"


def refuse_unmoved_maps(
    frames: NDArray[np.uint8],
    maps: Sequence[Array],
    run: Callable[[NDArray[np.uint8]], Array],
) -> None:
    """Refuse maps that do not move as the image does: transposed, mirrored, or of the middle of the image alone.

    Args:
        frames: real images, (N, H, W, 3).
        maps: the raw maps for each of them, (1, C, h, w).
        run: returns the raw maps for one frame (1, H, W, 3).

    Raises:
        RecipeError: they clearly move in another way.
    """
    chosen = list(zip(frames, maps, strict=False))[:IMAGES]
    for axis in (_COLUMNS, _ROWS):
        found: dict[str, list[float]] = {}
        for frame, before in chosen:
            step = _step(frame.shape[axis - 1])
            after = run(np.roll(frame, step, axis - 1)[None])
            for name, (along, cells) in _ways(before, frame, axis, step).items():
                found.setdefault(name, []).append(_correlation(before[0], after[0], along, cells))
        medians = {name: float(np.median(one)) for name, one in found.items()}
        best = max((name for name in _REASONS if name in medians), key=lambda name: medians[name])
        least = max(CLEAR, medians[_STILL] + CLEARLY)
        if medians[_RIGHT] < UNCLEAR and medians[best] > least:
            raise RecipeError(f"{_REASONS[best]} ({_shown(maps, frames)})")
        if _is_inner(found):
            raise RecipeError(f"{_REASONS[_INNER]} ({_shown(maps, frames)})")


def _shown(maps: Sequence[Array], frames: NDArray[np.uint8]) -> str:
    height, width = maps[0].shape[2:]
    return f"the maps are {height}×{width} for an image of {frames.shape[1]}×{frames.shape[2]}"


def _is_inner(found: Mapping[str, Sequence[float]]) -> bool:
    """Return whether each image's maps move as far as those of its middle do, and clearly not as their size says.

    A narrow border that is cut off changes little, so that the correlation is high in both ways.
    """
    if _INNER not in found:
        return False
    wrong = [
        (1 - right, 1 - inner) for right, inner in zip(found[_RIGHT], found[_INNER], strict=True)
    ]
    off, exact = (float(np.median(one)) for one in zip(*wrong, strict=True))
    return (
        all(right > inner for right, inner in wrong)
        and exact <= 1 - EXACT
        and off > max(LEAST_WRONG, FAR_LESS_WRONG * exact)
    )


def _step(length: int) -> int:
    """Return by how many pixels an image is moved along an axis of this length, about a quarter of it."""
    quarter = length // 4
    return max(1, quarter if quarter < STRIDE else round(quarter / STRIDE) * STRIDE)


def _ways(
    maps: Array, frame: NDArray[np.uint8], axis: int, step: int
) -> dict[str, tuple[int, int]]:
    """Return along which axis, and by how many cells, maps may move where the image moves along one."""
    length, other = frame.shape[axis - 1], _ROWS if axis == _COLUMNS else _COLUMNS
    cells = round(step * maps.shape[axis] / length)
    ways = {
        _RIGHT: (axis, cells),
        _STILL: (axis, 0),
        "transposed": (other, round(step * maps.shape[other] / length)),
        "mirrored": (axis, -cells),
    }
    # Maps without a border have fewer cells, and not larger ones.
    # It is so many pixels as a power of two says, a network's usual stride.
    inner = step >> max(0, (length // maps.shape[axis]).bit_length() - 1)
    if inner > cells:
        ways[_INNER] = (axis, inner)
    return ways


def _correlation(before: Array, after: Array, axis: int, cells: int) -> float:
    """Return the correlation of maps (C, h, w), moved by so many cells along an axis, with others, beside the seam."""
    length = before.shape[axis]
    kept = length - abs(cells)
    margin = kept // 8
    inner = np.arange(margin, kept - margin)
    if len(inner) < 2:
        return 0.0
    one = np.take(before, inner + max(0, -cells), axis)
    other = np.take(after, inner + max(0, cells), axis)
    one, other = (part - part.mean(axis=(1, 2), keepdims=True) for part in (one, other))
    size = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / size if size > 0 else 0.0


_REASONS = {
    "transposed": (
        "The network's maps are transposed: where an image moves to the right, they move down. Export the network with "
        "maps (N, C, height, width), or name the tensor before the transposition with --outputs (of an ONNX file)"
    ),
    "mirrored": (
        "The network's maps are mirrored: where an image moves to one side, they move to the other one. Export the "
        "network without this"
    ),
    _INNER: (
        "The network's maps show the middle of an image alone, as those of convolutions without a padding do: where an "
        "image moves, they move further than their size says, so that a mask would be stretched. Export the network "
        "with padded convolutions, or so that it pads the image itself and its maps cover the image"
    ),
}
