"""Raw heads of a detector, as maps over the image: their boxes are not decoded in the graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from exporter.errors import RecipeError
from exporter.heads.box_pair import is_boxes
from exporter.heads.detector_evidence import Shapes
from exporter.heads.grids import MAP_STRIDES, MOST_A_CELL, grid_size, grid_strides
from exporter.heads.raw_tensor import Dims, Tensor
from service.card import ImageInput

_BINS = (64, 68)
"""The channels of a box as distributions over its four distances, of 16 bins each or of 17."""

_FEW_BINS = (32,)
"""As well, where labels confirm them: NanoDet and PicoDet have 8 bins for each side."""


@dataclass(frozen=True, slots=True)
class _Map:
    """An output over the image's cells: their stride, and how many numbers each cell has."""

    tensor: Tensor
    stride: int
    channels: int


def refuse_levels(
    outputs: Sequence[Tensor], image_input: ImageInput, labels: int, *, fewest: int = 1
) -> None:
    """Refuse outputs that all are maps over the image, as a detector's heads are before their boxes are decoded.

    Args:
        outputs: all of the network's.
        image_input: the network's.
        labels: the number of labels, 0 where it is not known.
        fewest: fewer maps are not refused.

    Raises:
        RecipeError: the message lists the outputs and says how to export the network with its decoding.
    """
    maps = [found for one in outputs if (found := _as_map(one, image_input)) is not None]
    strides = sorted({one.stride for one in maps})
    is_flat = any(len(one.tensor.dims) == 3 for one in maps)
    if len(maps) < max(len(outputs), fewest) or (is_flat and len(strides) < 2):
        return
    known = _form(maps, labels)
    if known is None and len(maps) == 1:
        return
    words, how = known or ("They seem to be the heads of a detector", _FROM_CALL)
    listed = ", ".join(f"{one.tensor.name} {one.tensor.dims}" for one in maps)
    raise RecipeError(
        f"The network's outputs are maps over the image, at stride {_and(strides)}: {listed} for one image. {words}. "
        f"{_APART if is_flat else _AS_MAPS} the network with its decoding: {how}. {_OR_CALLABLE}. "
        "Only if the file has such tensors too, name them with --outputs BOXES,SCORES"
    )


def refuse_levels_though_stated(shown: Shapes) -> None:
    """Refuse levels of which a stated decoder reads only one, unless an output holds those of several."""
    if shown.decoder and not any(_is_whole(one.dims, shown.image_input) for one in shown.outputs):
        refuse_levels(shown.outputs, shown.image_input, shown.labels, fewest=2)


def refuse_levels_of_boxes(shown: Shapes) -> None:
    """Refuse levels where more than one output may be boxes."""
    if sum(map(is_boxes, shown.outputs)) > 1:
        refuse_levels(shown.outputs, shown.image_input, shown.labels, fewest=2)


def refuse_maps(shown: Shapes) -> None:
    refuse_levels(shown.outputs, shown.image_input, shown.labels)


def refuse_unlike_levels(shown: Shapes) -> None:
    """Refuse levels that are not known by their grids: several outputs of different numbers of boxes."""
    levels = [one for one in shown.outputs if len(one.dims) == 3 and not one.is_integer]
    if len(levels) > 3 and len({one.dims[1] for one in levels}) > 1:
        raise RecipeError(
            f"The outputs {', '.join(one.name for one in levels)} are those of several levels, whose boxes are not "
            "decoded. Export the network with its decoding: boxes (N, A, 4) and scores (N, A, K) of all levels together"
        )


def refuse_distributions(values: int, labels: int) -> None:
    """Refuse boxes of which each has a distribution over the distance to each of its sides, beside its scores.

    Args:
        values: how many each box has in one output.
        labels: the number of labels.

    Raises:
        RecipeError: the message says how to export the network with its decoding.
    """
    bins = values - labels
    if labels and bins in (*_FEW_BINS, *_BINS):
        raise RecipeError(
            f"labels: {labels} are given, and each box has {values} values, {bins} + {labels}: "
            f"{_distribution(bins)}, and a score for each class. The boxes are not decoded in the graph, and no "
            f"--decoder reads distributions. Export the network with its decoding: {_FROM_BINS}. {_OR_CALLABLE}. If "
            "all values behind the box are scores, give one label for each class: --labels FILE"
        )


def _is_whole(dims: Dims, image_input: ImageInput) -> bool:
    """Return whether an output (N, A, C) or (N, C, A) has the boxes of several grids together, of one anchor or three.

    So many may be those of one level with other anchors too.
    """
    counts = [count // anchors for count in dims[1:] for anchors in (1, 3) if count % anchors == 0]
    return len(dims) == 3 and any(
        len(grid_strides(count, image_input) or ()) > 1 for count in counts
    )


def _as_map(one: Tensor, image_input: ImageInput) -> _Map | None:
    """Return the output as a map, channels first or last, its cells as two axes or as one; None where it is none."""
    if one.is_integer or not 3 <= len(one.dims) <= 5:
        return None
    for stride in MAP_STRIDES:
        size = grid_size(stride, image_input)
        channels = _of_rows(one.dims, prod(size)) if len(one.dims) == 3 else _around(one.dims, size)
        if min(size) > 1 and channels is not None:
            return _Map(one, stride, channels)
    return None


def _of_rows(dims: Dims, cells: int) -> int | None:
    """Return the numbers of a cell in (N, A × cells, C) or (N, C, cells), None where these are not the cells."""
    _, rows, columns = dims
    several, rest = divmod(rows, cells)
    if not rest and several <= MOST_A_CELL:
        return several * columns
    return rows if columns == cells else None


def _around(dims: Dims, size: tuple[int, int]) -> int | None:
    """Return the numbers of a cell in an output with two neighboring axes of this size, None where it has none."""
    at = next((i for i in range(1, len(dims) - 1) if dims[i : i + 2] == size), None)
    return None if at is None else prod(dims) // dims[0] // prod(size)


def _form(maps: Sequence[_Map], labels: int) -> tuple[str, str] | None:
    """Return the form of the heads in words, and how to export them with their decoding; None where it is not known."""
    levels: dict[int, list[int]] = {}
    for one in maps:
        levels.setdefault(one.stride, []).append(one.channels)
    forms = sorted({tuple(sorted(channels)) for channels in levels.values()})
    if len(forms) > 1:
        return _PRIORS if all(_anchors(one, labels) for one in forms) else None
    channels = forms[0]
    if len(channels) == 1:
        return _of_one_map(channels[0], labels, len(levels))
    if len(levels) == 1 and _are_centers(channels, labels):
        return f"{_and(channels)} channels are {_CENTERS}", _FROM_HEAT
    if len(channels) <= 3 and (bins := next((one for one in _BINS if one in channels), 0)):
        return f"{_and(channels)} channels are {_distribution(bins)}, and scores", _FROM_BINS
    if anchors := _anchors(channels, labels):
        return (
            f"{_and(channels)} channels are 4 × {anchors} and K × {anchors}: {_OFFSETS}",
            _FROM_CALL,
        )
    return None


def _of_one_map(channels: int, labels: int, levels: int) -> tuple[str, str] | None:
    """Return the form of levels that each have one map, of boxes and scores."""
    if labels and channels - labels in _BINS:
        bins = channels - labels
        return (
            f"{channels} channels are {bins} + {labels} labels: {_distribution(bins)}, and a score for each class",
            _FROM_BINS,
        )
    if labels and channels == 4 + labels:
        return (
            f"{channels} channels are 4 + {labels} labels: a box, and a score for each class",
            _FROM_CALL,
        )
    # Three anchors are what almost all such heads have.
    anchors, rest = divmod(channels, 5 + labels) if labels else (3, channels % 3)
    classes = labels or channels // 3 - 5
    if rest or not 1 <= anchors <= MOST_A_CELL or classes < 1 or not (labels or levels > 1):
        return None
    one = f"each of {anchors} anchors of a cell" if anchors > 1 else "each cell"
    words = (
        f"{channels} channels are {anchors} × (5 + {classes}): for {one} a box, an objectness and a score for each of "
        f"{classes} classes, as heads of YOLO and Darknet have them"
    )
    return words, _FROM_YOLO


def _are_centers(channels: Sequence[int], labels: int) -> bool:
    """Return whether one map is that of the classes, and all others have the two numbers of a size or an offset."""
    rest = sorted(channels, key=lambda one: one == 2)
    return (
        2 <= len(channels) <= 3
        and all(one == 2 for one in rest[1:])
        and (not labels or rest[0] == labels)
    )


def _anchors(channels: Sequence[int], labels: int) -> int | None:
    """Return how many anchors a cell has, where maps are those of 4 × A and K × A, with or without one of A."""
    for anchors in range(1, MOST_A_CELL + 1):
        rest = list(channels)
        if 4 * anchors not in rest:
            continue
        rest.remove(4 * anchors)
        allowed = (
            {anchors * labels, anchors * (labels + 1)} if labels else {rest[-1] if rest else 0}
        )
        scores = [one for one in rest if one in allowed and one % anchors == 0]
        if scores and len(rest) <= 2 and all(one in {scores[0], anchors} for one in rest):
            return anchors
    return None


def _distribution(bins: int) -> str:
    return f"a distribution over {bins // 4} bins for each side of a box"


def _and(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}" if others else last


_AS_MAPS = "The boxes are not decoded in the graph, and no --decoder reads maps. Export"
_APART = (
    "The boxes are probably not decoded in the graph, and no --decoder reads levels that are outputs of their own. If "
    "they are decoded, join the levels to one output, as with torch.cat; else export"
)
_OR_CALLABLE = (
    "Or give it as python:package.module:callable, with a forward that decodes its maps to boxes (N, A, 4) and scores "
    "(N, A, K)"
)
_CENTERS = (
    "a heat map of the centers of each class, and their sizes or offsets, as CenterNet has them"
)
_OFFSETS = "boxes as offsets from anchors or cells, and a score for each class, as SSD, RetinaNet and FCOS have them"
_FROM_BINS = (
    "Ultralytics' model.export(format='onnx') gives (N, 4 + K, A); an export for an accelerator, as RKNN's, takes the "
    "decoding away"
)
_FROM_YOLO = (
    "YOLOv5's export.py and Ultralytics' model.export(format='onnx') have it, YOLOv7's export.py with --grid, YOLOX's "
    "export_onnx.py with --decode_in_inference; for Darknet's weights take a converter that adds the yolo layers"
)
_FROM_HEAT = "from the call that finds the peaks of the heat map and gives boxes"
_FROM_CALL = (
    "from the call that gives boxes, as torchvision's and Ultralytics' models do, MMDetection's with mmdeploy, and "
    "YOLOX's export_onnx.py with --decode_in_inference"
)
_PRIORS = (f"Each level has 4 × A channels and K × A: {_OFFSETS}", _FROM_CALL)
