"""The notation of a detector's scores, settled by what they are on real images, and its column of the background.

`detector_steps` lists these steps in the order in which they are tried.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.activation import GIVEN, activate
from exporter.heads.background import settle_background
from exporter.heads.contradictions import (
    are_never_negative,
    logarithms,
    never_negative,
    refuse_contradiction,
    refuse_no_percentages,
    refuse_other_unit,
)
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import RawValues, Settled
from exporter.heads.extra_column import refuse_objectness
from exporter.heads.one_output import COLUMNS
from exporter.heads.open_decoder import settle_columns
from exporter.heads.other_decoders import other_decoders
from exporter.heads.score_kind import in_unit_range, is_magnified, sums_to_one, value_range
from exporter.heads.score_refusal import refuse_softmax_over_boxes
from exporter.heads.softmax_part import is_quantized_softmax
from exporter.heads.unknown_scores import unknown_scores
from exporter.network import Array
from exporter.recipe_tables import Activation

BOX = 4
"""The numbers of a box; scores of as many classes have the same shape."""

_APART = {"pair", "pair_objectness", "triple"}
"""The decoders whose scores are an output of their own, the second one."""

LARGEST_LOGIT = 100.0
"""Larger values are hardly a trained network's logits."""


def settle_fifth_value(known: RawValues) -> DetectHead | None:
    """Return the head of columns with a fifth value whose meaning the shape leaves open."""
    head = known.head
    if head.recipe.decoder != COLUMNS:
        return None
    return settle_columns(head, known.parts, known.graph, known.raw[0], known.image_input)


def refuse_unit(known: RawValues) -> None:
    axis = None if known.names_classes else 2
    stated = known.head.recipe.score_activation
    refuse_other_unit(stated, known.graph, known.scores_tensor, known.scores, axis)


def settle_known(known: RawValues) -> Settled | None:
    """Return the head whose source knows the form of its outputs, as it is."""
    return Settled(with_activation(known)) if known.head.is_known else None


def with_activation(known: RawValues) -> DetectHead:
    """Return the head with the activation that is stated, else with none."""
    head = known.head
    stated = head.recipe.score_activation or "none"
    return replace(head, recipe=head.recipe.model_copy(update={"score_activation": stated}))


def refuse_unlike_objectness(known: RawValues) -> None:
    """Refuse scores and an objectness in outputs of their own of which one are probabilities; one activation is both's.

    Raises:
        RecipeError: the message names the two ranges.
    """
    scores, objectness = known.scores, _objectness(known)
    is_apart = known.head.recipe.decoder == "pair_objectness"
    if is_apart and in_unit_range(scores) != in_unit_range(objectness):
        ranges = [
            f"{low:.3g} to {high:.3g}" for low, high in map(value_range, (scores, objectness))
        ]
        raise RecipeError(
            f"The detector's scores are {ranges[0]} on real images, its objectness {ranges[1]}: only one of them are "
            "probabilities. Export the network with a sigmoid behind both, or behind none, or name such tensors with "
            "--outputs BOXES,SCORES,OBJECTNESS"
        )


def refuse_activation_of_named(known: RawValues) -> None:
    """Refuse that the scores of a network that names the class of each box are logits."""
    stated = known.head.recipe.score_activation
    if known.names_classes and stated in {"softmax", "sigmoid"}:
        raise RecipeError(
            f"--activation {stated} is not for --decoder {known.head.recipe.decoder}: its scores must be probabilities"
        )


def refuse_contradicted_activation(known: RawValues) -> None:
    """Refuse an activation that the scores contradict, and percentages that nothing states."""
    stated, every = known.head.recipe.score_activation, _every_score(known)
    is_apart = known.head.recipe.decoder in _APART
    if is_apart and is_magnified(known.graph, known.raw[1]) and in_unit_range(every):
        # Percentages of a network that finds nothing on these images.
        if stated is None:
            raise unknown_scores("scaled", every)
        refuse_contradiction(stated, "scaled", every, known.ends)
    else:
        _refuse_contradiction(stated, every, known.scores, known.ends)


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
    is_probability = _are_probabilities(every, ends)
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


def refuse_no_probabilities(known: RawValues) -> None:
    """Refuse scores that are not, or may not be, probabilities, where nothing states what makes some of them."""
    every = _every_score(known)
    if known.head.recipe.score_activation is not None or _are_probabilities(every, known.ends):
        return
    others = other_decoders(known.head, len(known.labels))
    raise _no_probabilities(
        known.head, every, known.ends, chooses=known.names_classes, others=others
    )


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


def refuse_softmax_over_anchors(known: RawValues) -> None:
    if _has_columns(known):
        refuse_softmax_over_boxes(known.scores)


def settle_background_column(known: RawValues) -> DetectHead | None:
    """Return the head with the column of the background, if there is one."""
    if not _has_columns(known):
        return None
    stated, shown = known.head.recipe.score_activation, known.scores
    if stated is not None and stated in GIVEN:
        shown = [activate(one, stated, axis=2) for one in shown]
    return settle_background(known.head, shown, known.labels, is_softmax=_is_softmax(known))


def refuse_column_of_objectness(known: RawValues) -> None:
    """Refuse a background that is an objectness."""
    if not _has_columns(known) or _is_softmax(known):
        return
    stated = known.head.recipe.score_activation or "none"
    refuse_objectness(known.head, [activate(one, stated, axis=2) for one in known.scores])


def _objectness(known: RawValues) -> list[Array]:
    return [one.objectness for one in known.parts if one.objectness is not None]


def _every_score(known: RawValues) -> list[Array]:
    """Return the scores on real images, and the objectness where there is one."""
    return [*known.scores, *_objectness(known)]


def _are_probabilities(every: Sequence[Array], ends: set[str]) -> bool:
    """Return whether scores are probabilities; logits of a linear layer may all lie in 0–1 too."""
    return in_unit_range(every) and ends != {"linear"}


def _has_columns(known: RawValues) -> bool:
    """Return whether each box has a score for each class, and no objectness."""
    first = known.parts[0]
    return first.classes is None and first.objectness is None


def _is_softmax(known: RawValues) -> bool:
    """Return whether the scores are those of a softmax; one that is rounded to integers does not sum to one."""
    raw = known.raw
    is_rounded = len(raw) > 1 and is_quantized_softmax(known.graph, raw[1], axis=2)
    return is_rounded or known.head.recipe.score_activation == "softmax"
