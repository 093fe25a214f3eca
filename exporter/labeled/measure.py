"""Labeled images through the service's own path → the accuracy of a graph, beside that of its source.

An image goes from its bytes through the service's decode and resize, the graph in ONNX Runtime and the service's head.
The source gets the same pixels in its own framework, and its outputs go through the same head: what differs between the
two is lost by the conversion.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.segment import SegmentHead
from exporter.labeled.answers import (
    OutputScorer,
    box_scorer,
    class_scorer,
    label_scorer,
    mask_scorer,
)
from exporter.labeled.class_pairs import Pairs, box_pairs
from exporter.named_option import naming_option
from exporter.network import Network, Outputs
from exporter.progress import Progress
from exporter.proof import run_graph
from exporter.sessions import alternating_session
from exporter.threads import beside, half_of_the_cores
from service.card import Accuracy
from service.errors import ImageError, InferenceError
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.imaging.source_image import SourceImage
from service.labeled.reading import check_answers, without_column
from service.labeled.scorers import BoxScorer, ClassScorer, MaskScorer, check_masks, mask_size
from service.labeled.truth import LabeledImage, LabeledImages

MOST_LABELS = 1000
"""Scores of more labels are left out of a card, which may have 1 MiB."""

DIGITS = 6
BATCH = 8


@dataclass(frozen=True, slots=True)
class Measurement:
    """The accuracy as the card holds it, and for a classifier of one class an image the answers and the truth.

    `boxes` and `areas` are pairs of the answered and the true class: of each found object of a detector, and of each
    class in each mask of a segmenter.
    `smallest` are the classes with the smallest score. `left_out` says of each image that was not measured with, why.
    `lacks` are the labels of a network of several that have no column in the table.
    """

    accuracy: Accuracy
    name: str
    answers: tuple[int, ...] = ()
    truth: tuple[int, ...] = ()
    smallest: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    boxes: Pairs = ()
    areas: Pairs = ()


@dataclass(frozen=True, slots=True)
class ReadImage:
    """A labeled image as the service reads it: `shown` with its place, `frame` uint8 (H, W, 3)."""

    labeled: LabeledImage
    shown: SourceImage
    frame: NDArray[np.uint8]


def check_labeled(labeled: LabeledImages, network: Network, labels: Sequence[str]) -> None:
    """Hold the answers against the network, before it is proved.

    Raises:
        RecipeError: names, numbers of labels or masks do not fit it.
    """
    with naming_option("--labeled"):
        check_answers(labeled, labels, several=_several(network))
        if network.head.task == "segment":
            check_masks(labeled.images, len(labels))


@half_of_the_cores()
def measure_accuracy(
    model: onnx.ModelProto,
    network: Network,
    labels: tuple[str, ...],
    labeled: LabeledImages,
    progress: Progress,
) -> Measurement:
    """Return what the graph and its source reach on labeled images.

    Raises:
        RecipeError: no image can be measured with.
        GraphError: the graph does not run.
    """
    session = alternating_session(model)
    mine, source = (make_scorer(network, labels) for _ in range(2))
    left_out: list[tuple[LabeledImage, str]] = []
    smallest: list[int] = []
    size = min(BATCH, network.max_batch or BATCH)
    count = len(labeled.images)
    for begin in range(0, count, size):
        batch = read_images(labeled.images[begin : begin + size], network, left_out)
        if batch:
            frames = np.stack([one.frame for one in batch])
            theirs, ours = beside(
                partial(_source_outputs, network, frames),
                partial(run_graph, session, frames, network.head.outputs),
            )
            add_answers(mine, ours, batch)
            if isinstance(mine.scorer, ClassScorer):
                smallest += ours["logits"].argmin(axis=1).tolist()
            add_answers(source, theirs, batch)
        done = min(begin + size, count)
        progress.advance(done / count, f"{done} images")
    measured = count - len(left_out)
    names = labeled.names() if left_out else {}
    reasons = tuple(f"{names[image.file]}: {reason}" for image, reason in left_out)
    if not measured:
        raise RecipeError(f"--labeled {labeled.name}: no image can be measured: {reasons[0]}")
    accuracy = _accuracy(mine, source, measured, labels)
    note = ", ".join(f"{name} {value:.1%}" for name, value in accuracy.scores.items())
    progress.advance(1, f"{note} of {measured} images")
    lacks = without_column(labeled, labels) if _several(network) else ()
    found = Measurement(accuracy, labeled.name, left_out=reasons, lacks=lacks)
    if isinstance(mine.scorer, ClassScorer):
        answers = tuple(one[0] for one in mine.scorer.ranked)
        truth = tuple(mine.scorer.truth)
        return replace(found, answers=answers, truth=truth, smallest=tuple(smallest))
    if isinstance(mine.scorer, BoxScorer):
        return replace(found, boxes=box_pairs(mine.scorer.found, mine.scorer.truth))
    if isinstance(mine.scorer, MaskScorer):
        return replace(found, areas=tuple(mine.scorer.areas))
    return found


def _several(network: Network) -> bool:
    head = network.head
    return isinstance(head, ClassifyHead) and head.activation == "sigmoid"


def make_scorer(network: Network, labels: tuple[str, ...]) -> OutputScorer[Any]:
    """Return what collects the answers of a network's task."""
    match network.head:
        case DetectHead():
            return box_scorer(labels, nms_free=network.head.recipe.nms_free)
        case SegmentHead():
            return mask_scorer(labels, network.background_id)
    return label_scorer(labels) if _several(network) else class_scorer(labels)


def read_images(
    images: Sequence[LabeledImage], network: Network, left_out: list[tuple[LabeledImage, str]]
) -> list[ReadImage]:
    """Return images with their places and frames; of a bad one only the reason, in `left_out`."""
    read = []
    for image in images:
        try:
            body = image.file.read_bytes()
            frame, geometry = fit_encoded(body, network.image_input, Limits())
            stated = mask_size(image) if image.mask is not None else image.size
            reason = _other_size((geometry.width, geometry.height), stated)
        except (OSError, ImageError) as error:
            reason = str(error)
        if reason is None:
            read.append(ReadImage(image, SourceImage(body, geometry, Limits()), frame))
        else:
            left_out.append((image, reason))
    return read


def _other_size(size: tuple[int, int], stated: tuple[int, int] | None) -> str | None:
    if stated is None or stated == size:
        return None
    return f"it has {size[0]}×{size[1]} pixels as displayed, its annotations are for {stated[0]}×{stated[1]}"


def _source_outputs(network: Network, frames: NDArray[np.uint8]) -> Outputs:
    reference = network.reference
    raw = reference.run(reference.pixels_of_frames(frames))
    return network.head.expected(raw, network.image_input)


def add_answers(scorer: OutputScorer[Any], outputs: Outputs, batch: Sequence[ReadImage]) -> None:
    """Add the outputs for a batch of images.

    Raises:
        RecipeError: the service could not answer with these outputs.
    """
    for index, one in enumerate(batch):
        try:
            scorer.add(
                {name: values[index] for name, values in outputs.items()}, one.shown, one.labeled
            )
        except InferenceError as error:
            raise RecipeError(f"--labeled: {one.labeled.file.name}: {error}") from error


def _accuracy(
    mine: OutputScorer[Any], source: OutputScorer[Any], images: int, labels: Sequence[str]
) -> Accuracy:
    scores, reference = mine.scores(), source.scores()
    by_class = scores.by_class if len(scores.by_class) <= MOST_LABELS else {}
    return Accuracy(
        images=images,
        scores=_rounded(scores.total),
        reference=_rounded(reference.total),
        by_label={_label(kind, labels): _rounded(each) for kind, each in by_class.items()},
    )


def _label(kind: int, labels: Sequence[str]) -> str:
    """Return a class's label, with its id where it is that of several classes or none."""
    label = labels[kind]
    return label if label and labels.count(label) == 1 else f"{label} ({kind})".strip()


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in scores.items()}
