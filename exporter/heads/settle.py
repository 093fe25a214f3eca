"""The activation of a head, settled by what the raw scores are; a statement that contradicts them is refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.activation import GIVEN, activate
from exporter.heads.classify import ClassifyHead
from exporter.heads.contradictions import (
    refuse_again,
    refuse_contradiction,
    refuse_other_unit,
)
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import RawValues
from exporter.heads.detector_steps import settle_scores
from exporter.heads.score_kind import Kind, graph_ends, score_kind, sums_to_one, value_range
from exporter.heads.score_refusal import refuse_softmax_over_places
from exporter.heads.score_units import refuse_unknown_rounding, sum_to_hundred
from exporter.heads.segment import SegmentHead
from exporter.heads.segment_rest import require_maps_of_their_own
from exporter.heads.unknown_scores import UNKNOWN, unknown_scores
from exporter.network import Array, Head
from exporter.recipe_tables import Activation
from service.card import ImageInput


def settle_head(
    head: Head,
    graph: Graph,
    raw: Sequence[str],
    outputs: Sequence[Sequence[Array]],
    image_input: ImageInput,
    *,
    labels: Sequence[str] = (),
) -> Head:
    """Return the head with the activation that suits the network, and the form that its boxes have.

    Args:
        head: as selected by task and shapes.
        graph: the raw graph.
        raw: the names of its outputs.
        outputs: the source's raw outputs for each of several real images.
        image_input: the network's.
        labels: those of the classes.

    Raises:
        RecipeError: the recipe contradicts the network, or what the scores are can not be known; the message names
            the option that states it.
    """
    match head:
        case ClassifyHead():
            scores = [one[0].reshape(len(one[0]), -1) for one in outputs]
            kind = score_kind(graph, raw[0], scores, axis=1)
            refuse_other_unit(head.stated, graph, raw[0], scores, 1)
            return _classify(head, kind, scores, graph_ends(graph, raw[0]))
        case SegmentHead():
            maps = [one[0] for one in outputs]
            refuse_other_unit(head.stated, graph, raw[0], maps, 1)
            if head.stated is None and not _is_always_one(maps):
                refuse_softmax_over_places(graph, raw[0], maps)
            return _segment(
                head, score_kind(graph, raw[0], maps, axis=1), maps, graph_ends(graph, raw[0])
            )
        case DetectHead():
            return settle_scores(RawValues(head, image_input, graph, raw, outputs, labels))
    return head


def _classify(head: ClassifyHead, kind: Kind, scores: list[Array], ends: set[str]) -> ClassifyHead:
    stated = head.stated
    one_score = scores[0].shape[1] == 1
    if not one_score and _is_always_one(scores):
        raise RecipeError(
            "Every score is 1.0 for every image, as those of a softmax over an axis of one value are. Export the "
            "network with its softmax over the classes (axis 1), or without it"
        )
    if stated == "softmax" and head.multi_label:
        raise RecipeError("--activation softmax contradicts --multi-label: give one of the two")
    if one_score and (stated == "softmax" or _is_always_one(scores)):
        raise RecipeError(
            "A softmax over one class is 1.0 for every image. A network with one score needs a sigmoid: "
            "--activation sigmoid, or export the network without its softmax"
        )
    # Labels that each have a probability already are what --multi-label states, so it is no second sigmoid.
    are_alone = kind in {"sigmoid", "softmax_part"}
    implied: Activation | None = "sigmoid" if head.multi_label and not are_alone else None
    refuse_again(stated or implied, kind)
    refuse_contradiction(stated, kind, scores, ends)
    if stated is not None and stated in GIVEN:
        return _stated_given(replace(head, notation=stated), stated, kind, scores)
    if kind in {"softmax", "softmax_part", "sigmoid"}:
        is_softmax = kind == "softmax" or (kind == "softmax_part" and not head.multi_label)
        return _given(head, sums=is_softmax)
    if stated is None and kind in UNKNOWN:
        raise unknown_scores(kind, scores)
    # A log-softmax says that an image has one class.
    is_open = stated is None and kind != "log_softmax" and not head.both_sides
    return replace(head, assumes_softmax=is_open and head.activation == "softmax")


def _stated_given(
    head: ClassifyHead, stated: Activation, kind: Kind, scores: list[Array]
) -> ClassifyHead:
    """Return the head for probabilities that the recipe states, in whatever notation."""
    whole = sums_to_one([activate(one, stated, axis=1) for one in scores], axis=1)
    if whole and head.multi_label:
        refuse_again("sigmoid", "softmax")
    is_single = kind == "softmax_part"
    if stated == "percent" and not head.multi_label:
        is_single = is_single or sum_to_hundred(scores)
        if not (whole or is_single):
            refuse_unknown_rounding(scores)
    return _given(head, sums=whole or (is_single and not head.multi_label))


def _given(head: ClassifyHead, *, sums: bool) -> ClassifyHead:
    """Return the head for a network that computes the probabilities itself."""
    if sums:
        return replace(head, scores="softmax")
    return replace(head, scores="sigmoid", multi_label=not head.both_sides)


def _segment(head: SegmentHead, kind: Kind, maps: list[Array], ends: set[str]) -> SegmentHead:
    if head.channels == 1 and (head.stated == "softmax" or _is_always_one(maps)):
        raise RecipeError(
            "A softmax over one map is 1.0 for every pixel. A network with one map needs a sigmoid: "
            "--activation sigmoid, or export the network without its softmax"
        )
    refuse_contradiction(head.stated, kind, maps, ends)
    if kind == "softmax_part" and (head.stated is None or head.has_rest):
        raise RecipeError(
            "The maps are some of those of a softmax: one or more, such as the background's, are cut off in the "
            "graph. Without it, every pixel would be an object. Export the network with all maps, or name the "
            "tensor before the cut with --outputs (of an ONNX file); if each map is to be the best of these alone, "
            "state --activation none"
        )
    if head.has_rest:
        require_maps_of_their_own(head, kind, maps)
    if head.stated is not None:
        return head
    if kind in {"softmax", "sigmoid"}:
        return replace(head, activation="none")
    if kind == "positive":
        raise _scaled(head, maps)
    if kind in UNKNOWN:
        raise unknown_scores(kind, maps)
    is_open = kind != "log_softmax" and head.channels > 1
    return replace(head, assumes_softmax=is_open and head.activation == "softmax")


def _scaled(head: SegmentHead, maps: list[Array]) -> RecipeError:
    low, high = value_range(maps)
    found = f"The maps are {low:.3g} to {high:.3g} on real images and never negative, as "
    are_whole = all(np.array_equal(one, np.round(one)) for one in maps)
    if head.channels == 3 and are_whole:
        return RecipeError(
            f"{found}the colors of a palette are: all are whole numbers. --task segment needs the score of each class: "
            "name the output before the ArgMax with --outputs. If they are scores in bytes, export the network with "
            "scores of 0 to 1"
        )
    if head.channels == 1 and are_whole:
        return RecipeError(
            f"{found}the class of each pixel is: all are whole numbers. --task segment needs the score of each class: "
            "export the network without its ArgMax or its rounding, or name the output before it with --outputs"
        )
    return RecipeError(
        f"{found}probabilities times {high:.0f} are. State --activation percent if they are percentages. Else export "
        "the network without this scaling, so that they are 0 to 1, or name the output before it with --outputs; if "
        "they are logits, state --activation softmax"
    )


def _is_always_one(scores: list[Array]) -> bool:
    return all(bool(np.all(np.abs(one - 1) < 1e-6)) for one in scores)
