"""Results of tasks → regions of Label Studio. The heads run on worker threads."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from service.api.dialects.label_studio.config import Control, Kind
from service.errors import InvalidParameterError
from service.imaging.outlines import outer_outlines, simplified

Region = dict[str, Any]
FINENESS = 0.001
"""How far an outline may be from the mask's, as a share of its length."""
LEAST_PROBABILITY = 0.5
"""Of each choice, where an image may have several."""
CHANNELS = 4
"""A brush is stored as an image: red, green, blue and alpha, each the mask."""
MOST_RUNS = 1 << 17
WORD_BITS = 8
SIZES = (4, 8, 12, 16)
"""The bits in which the length of a run may be written, less one."""


def areas(result: Any, *, brushes: bool) -> Any:  # noqa: ANN401  # of `segment`
    """Return the areas of an image, with few points in their outlines and with brushes where they are wanted."""
    for one in result["segments"]:
        outlines = outer_outlines(one.pop("polygons", ()))
        one["outlines"] = [
            points.tolist()
            for points in map(partial(simplified, share=FINENESS), outlines)
            if len(points) >= 3
        ]
        run_lengths = one.pop("rle")
        if brushes:
            one["brush"] = brush(
                coco.decode({**run_lengths, "counts": run_lengths["counts"].encode()})
            )
    return result


def brush(mask: NDArray[np.uint8]) -> list[int]:
    """Return a mask (height, width), 0 or 1, as the bytes of Label Studio's run lengths, row by row.

    The format is that of rle-pack: the number of values in 32 bits, the size of a value less one in 5 bits,
    four sizes of lengths less one in 4 bits each; then for each run a 1, which size in 2 bits, the length less one, the
    value.

    Raises:
        InvalidParameterError: the mask has too many runs.
    """
    values = mask.ravel()
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] ^ 1))
    if len(starts) > MOST_RUNS:
        raise InvalidParameterError(
            f"The mask is too ragged for BrushLabels: {len(starts)} runs of pixels, and at most {MOST_RUNS} are sent. "
            "Use PolygonLabels."
        )
    lengths = np.diff(starts, append=values.size) * CHANNELS
    longest = 1 << SIZES[-1]
    pieces = (lengths + longest - 1) // longest
    value = np.repeat(values[starts], pieces)
    length = np.full(value.size, longest, np.int64)
    length[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * longest
    size = np.searchsorted(np.left_shift(1, np.array(SIZES)), length)
    head = [(values.size * CHANNELS, 32), (WORD_BITS - 1, 5), *((one - 1, 4) for one in SIZES)]
    fields = np.stack(
        [np.ones_like(length), size, length - 1, value.astype(np.int64) * 255], axis=1
    )
    widths = np.stack(
        [
            np.full_like(size, 1),
            np.full_like(size, 2),
            np.array(SIZES)[size],
            np.full_like(size, 8),
        ],
        axis=1,
    )
    numbers = np.concatenate([[one for one, _ in head], fields.ravel()])
    bits = _bits(numbers, np.concatenate([[width for _, width in head], widths.ravel()]))
    packed: list[int] = np.packbits(bits).tolist()
    return packed


def _bits(numbers: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return numbers one after the other, each in so many bits, the highest bit first."""
    ends = np.cumsum(widths)
    places = np.repeat(ends, widths) - 1 - np.arange(ends[-1])
    return ((np.repeat(numbers, widths) >> places) & 1).astype(np.uint8)


def regions_of(control: Control, result: Mapping[str, Any]) -> list[Region]:
    """Return what a tag shows of an image's result; what the project has no label for is left out."""
    return list(_REGIONS[control.kind](control, result))


def _rectangles(control: Control, result: Mapping[str, Any]) -> Iterator[Region]:
    across, down = 100 / result["width"], 100 / result["height"]
    for one in result["detections"]:
        box = one["box"]
        place = {
            "x": box["x_min"] * across,
            "y": box["y_min"] * down,
            "width": (box["x_max"] - box["x_min"]) * across,
            "height": (box["y_max"] - box["y_min"]) * down,
            "rotation": 0,
        }
        yield from _region(control, result, one["label"], one["score"], place)


def _polygons(control: Control, result: Mapping[str, Any]) -> Iterator[Region]:
    across, down = 100 / result["width"], 100 / result["height"]
    for one in result["segments"]:
        for outline in one["outlines"]:
            points = [[x * across, y * down] for x, y in outline]
            place = {"points": points, "closed": True}
            yield from _region(control, result, one["label"], one["confidence"], place)


def _brushes(control: Control, result: Mapping[str, Any]) -> Iterator[Region]:
    for one in result["segments"]:
        place = {"format": "rle", "rle": one["brush"]}
        yield from _region(control, result, one["label"], one["confidence"], place)


def _choices(control: Control, result: Mapping[str, Any]) -> Iterator[Region]:
    found: dict[str, float] = {}
    for one in result["predictions"]:
        label = control.label_of(one["label"])
        if label is not None:
            found[label] = found.get(label, 0.0) + one["probability"]
    best = sorted(found, key=lambda label: -found[label])
    chosen = (
        [one for one in best if found[one] >= LEAST_PROBABILITY] if control.several else best[:1]
    )
    if chosen:
        yield {
            "from_name": control.name,
            "to_name": control.image,
            "type": "choices",
            "score": min(1.0, found[chosen[0]]),
            "value": {"choices": chosen},
        }


def _region(
    control: Control, result: Mapping[str, Any], name: str, score: float, place: Mapping[str, Any]
) -> Iterator[Region]:
    label = control.label_of(name)
    if label is None:
        return
    key = control.kind.lower()
    yield {
        "from_name": control.name,
        "to_name": control.image,
        "type": key,
        "original_width": result["width"],
        "original_height": result["height"],
        "image_rotation": 0,
        "score": score,
        "value": {**place, key: [label]},
    }


_REGIONS: Mapping[Kind, Any] = {
    "RectangleLabels": _rectangles,
    "PolygonLabels": _polygons,
    "BrushLabels": _brushes,
    "Choices": _choices,
}


def score_of(regions: Sequence[Region]) -> float:
    """Return the score of an image: the mean of its regions; 0 where there is none."""
    return sum(one["score"] for one in regions) / len(regions) if regions else 0.0
