"""The activation of a head, settled by what the raw scores are; a statement that contradicts them is refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.activation import GIVEN, activate
from exporter.heads.background import settle_background
from exporter.heads.box_check import check_boxes
from exporter.heads.box_form import judge_form
from exporter.heads.boxes import Candidates
from exporter.heads.classify import ClassifyHead
from exporter.heads.contradictions import (
    are_never_negative,
    logarithms,
    never_negative,
    refuse_again,
    refuse_contradiction,
    refuse_no_percentages,
)
from exporter.heads.detect import DetectHead
from exporter.heads.extra_column import refuse_objectness
from exporter.heads.one_output import COLUMNS
from exporter.heads.open_decoder import settle_columns
from exporter.heads.other_decoders import other_decoders
from exporter.heads.score_kind import (
    RANGE_TOLERANCE,
    Kind,
    graph_ends,
    in_unit_range,
    is_magnified,
    score_kind,
    sums_to_one,
    value_range,
)
from exporter.heads.score_refusal import refuse_softmax_over_boxes, refuse_softmax_over_places
from exporter.heads.score_units import (
    are_whole_percentages,
    refuse_cut_percentages,
    refuse_other_base,
    refuse_unknown_rounding,
    sum_to_hundred,
)
from exporter.heads.segment import SegmentHead
from exporter.heads.segment_rest import require_maps_of_their_own
from exporter.heads.softmax_part import is_quantized_softmax
from exporter.heads.undecoded import naming_offsets
from exporter.heads.unknown_scores import UNKNOWN, unknown_scores
from exporter.network import Array, Head
from exporter.recipe_tables import Activation
from service.card import ImageInput

BOX = 4
"""The numbers of a box; scores of as many classes have the same shape."""

_APART = {"pair", "pair_objectness", "triple"}
"""The decoders whose scores are an output of their own, the second one."""

LARGEST_LOGIT = 100.0
"""Larger values are hardly a trained network's logits."""


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
            _refuse_other_unit(head.stated, graph, raw[0], scores, 1)
            return _classify(head, kind, scores, graph_ends(graph, raw[0]))
        case SegmentHead():
            maps = [one[0] for one in outputs]
            _refuse_other_unit(head.stated, graph, raw[0], maps, 1)
            if head.stated is None and not _is_always_one(maps):
                refuse_softmax_over_places(graph, raw[0], maps)
            return _segment(
                head, score_kind(graph, raw[0], maps, axis=1), maps, graph_ends(graph, raw[0])
            )
        case DetectHead():
            # All outputs of a head in one tensor, or boxes before scores.
            of_scores = raw[min(1, len(raw) - 1)]
            ends = graph_ends(graph, of_scores)
            if head.recipe.decoder == COLUMNS:
                found = [head.decoder.split(one) for one in outputs]
                head = settle_columns(head, found, graph, raw[0], image_input)
            parts = [head.decoder.split(one) for one in outputs]
            axis = 2 if parts[0].classes is None else None
            shown = [one.scores for one in parts]
            _refuse_other_unit(head.recipe.score_activation, graph, of_scores, shown, axis)
            # Rounded to integers, a softmax does not sum to one.
            rounded = len(raw) > 1 and is_quantized_softmax(graph, raw[1], axis=2)
            scaled = head.recipe.decoder in _APART and is_magnified(graph, raw[1])
            return _detect(
                head, outputs, ends, image_input, labels, is_softmax=rounded, is_scaled=scaled
            )
    return head


def _refuse_other_unit(
    stated: Activation | None, graph: Graph, tensor: str, scores: Sequence[Array], axis: int | None
) -> None:
    """Refuse percentages or logarithms that are stated, where the graph or the values show another unit."""
    match stated:
        case "exp":
            if value_range(scores)[1] <= RANGE_TOLERANCE:
                refuse_other_base(graph, tensor, scores, axis)
        case "percent":
            refuse_cut_percentages(graph, tensor)
        case "softmax" if are_whole_percentages(scores) and graph_ends(graph, tensor) != {"linear"}:
            raise never_negative(stated, scores)


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


def _detect(
    head: DetectHead,
    outputs: Sequence[Sequence[Array]],
    ends: set[str],
    image_input: ImageInput,
    labels: Sequence[str],
    *,
    is_softmax: bool,
    is_scaled: bool,
) -> DetectHead:
    stated = head.recipe.score_activation
    if head.is_known:
        recipe = head.recipe.model_copy(update={"score_activation": stated or "none"})
        return replace(head, recipe=recipe)
    parts = [head.decoder.split(one) for one in outputs]
    scores = _with_objectness(head, parts)
    if parts[0].classes is not None and stated in {"softmax", "sigmoid"}:
        raise RecipeError(
            f"--activation {stated} is not for --decoder {head.recipe.decoder}: its scores must be probabilities"
        )
    # Logits may all lie in 0–1 too; those of a linear layer are none the less logits.
    is_probability = in_unit_range(scores) and ends != {"linear"}
    if is_scaled and in_unit_range(scores):
        # Percentages of a network that finds nothing on these images.
        if stated is None:
            raise unknown_scores("scaled", scores)
        refuse_contradiction(stated, "scaled", scores, ends)
    else:
        _refuse_contradiction(stated, scores, [one.scores for one in parts], ends)
    if stated is None and not is_probability:
        others = other_decoders(head, len(labels))
        raise _no_probabilities(
            head, scores, ends, chooses=parts[0].classes is not None, others=others
        )
    if parts[0].classes is None and parts[0].objectness is None:
        refuse_softmax_over_boxes([one.scores for one in parts])
        applied = "softmax" if is_softmax else stated or "none"
        shown = [one.scores for one in parts]
        if stated is not None and stated in GIVEN:
            shown = [activate(one, stated, axis=2) for one in shown]
        head = settle_background(head, shown, labels, is_softmax=applied == "softmax")
        if stated == "sigmoid":
            shown = [activate(one, stated, axis=2) for one in shown]
        if applied != "softmax":
            refuse_objectness(head, shown)
    settled = replace(
        head, recipe=head.recipe.model_copy(update={"score_activation": stated or "none"})
    )
    settled = judge_form(settled, parts, image_input)
    with naming_offsets(settled, parts, image_input):
        check_boxes(settled, parts)
    return settled


def _with_objectness(head: DetectHead, parts: Sequence[Candidates[Array]]) -> list[Array]:
    """Return the scores on real images, and the objectness where there is one.

    Raises:
        RecipeError: these are outputs of their own, and only one of them are probabilities; one activation makes both.
    """
    scores = [one.scores for one in parts]
    objectness = [one.objectness for one in parts if one.objectness is not None]
    is_apart = head.recipe.decoder == "pair_objectness"
    if is_apart and in_unit_range(scores) != in_unit_range(objectness):
        ranges = [
            f"{low:.3g} to {high:.3g}" for low, high in map(value_range, (scores, objectness))
        ]
        raise RecipeError(
            f"The detector's scores are {ranges[0]} on real images, its objectness {ranges[1]}: only one of them are "
            "probabilities. Export the network with a sigmoid behind both, or behind none, or name such tensors with "
            "--outputs BOXES,SCORES,OBJECTNESS"
        )
    return [*scores, *objectness]


def _refuse_contradiction(
    stated: Activation | None, every: list[Array], scores: list[Array], ends: set[str]
) -> None:
    """Refuse an activation that a detector's scores contradict.

    Args:
        stated: the recipe's.
        every: the scores on real images, and the objectness where there is one.
        scores: the scores alone, (N, A, K) or (N, A).
        ends: what computes them; of one tensor that holds the boxes too, what computes these as well.
    """
    is_probability = in_unit_range(every) and ends != {"linear"}
    if stated not in {"softmax", "sigmoid"}:
        is_known = is_probability and bool(ends & {"softmax", "sigmoid"})
        if stated == "percent" and not is_known:
            refuse_no_percentages(every)  # that none is above 1 % may be right
        else:
            refuse_contradiction(stated, "sigmoid" if is_known else "logits", every, ends)
        return
    if is_probability:
        low, high = value_range(every)
        raise RecipeError(
            f"--activation {stated}: the scores are probabilities already ({low:.3g} to {high:.3g} on real images). "
            "Give --activation none"
        )
    if are_never_negative(every, ends):
        raise never_negative(stated, every)
    are_logarithms = value_range(every)[1] <= 0 and bool(ends & {"log", "log_softmax"})
    powers = [np.exp(one) for one in scores]
    if are_logarithms and not (stated == "softmax" and sums_to_one(powers, axis=2)):
        raise logarithms(stated)


def _no_probabilities(
    head: DetectHead, scores: list[Array], ends: set[str], *, chooses: bool, others: str
) -> RecipeError:
    """Return the error of scores that are not, or may not be, probabilities.

    Args:
        head: of any decoder.
        scores: on real images.
        ends: what computes them.
        chooses: whether the network names the class of each box.
        others: the decoders that the output could have too, in words.
    """
    low, high = value_range(scores)
    how = (
        f"--decoder {head.recipe.decoder} needs probabilities. Export the network with its sigmoid"
        if chooses
        else "State what makes probabilities of them: --activation sigmoid or softmax"
    )
    if high > LARGEST_LOGIT:
        how += (
            ". Or are some of these columns no scores? A network of poses, rotated boxes or instance masks has "
            "key points, angles or mask coefficients there, and --task detect can not serve them"
        )
    elif low >= 0 and high > 1:
        how = (
            "None is negative: they are no logits. State --activation percent if they are percentages (0 to 100); "
            "counts must be divided in the network"
        )
    elif high <= 0 and ends & {"log", "log_softmax"}:
        how = "They are logarithms of probabilities: state --activation exp"
    found = "not probabilities"
    if in_unit_range(scores):
        found = "and a linear layer computes them, so that they may be logits"
        if not chooses:
            how = "State it: --activation sigmoid or softmax (they are logits), or none (they are probabilities)"
    if head.recipe.decoder == "pair" and head.columns == BOX:
        how += (
            ". Or are boxes and scores exchanged? --outputs BOXES,SCORES names them in this order"
        )
    if head.recipe.decoder == "yolov8" and low < 0:
        others = others or "(N, A, 4 + K), transposed: --decoder yolov8_rows"
    if low < 0 and others:
        how += f". Or is the output {others}?"
    return RecipeError(
        f"The detector's scores are {low:.3g} to {high:.3g} on real images, {found}. {how}"
    )


def _is_always_one(scores: list[Array]) -> bool:
    return all(bool(np.all(np.abs(one - 1) < 1e-6)) for one in scores)
