"""A stated activation that a network's scores contradict, as a sigmoid on top of probabilities, is refused."""

from collections.abc import Sequence

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.score_kind import (
    RANGE_TOLERANCE,
    Kind,
    graph_ends,
    in_unit_range,
    value_range,
)
from exporter.heads.score_units import (
    are_whole_percentages,
    refuse_cut_percentages,
    refuse_other_base,
)
from exporter.network import Array
from exporter.recipe_tables import Activation

HIGHEST_PERCENT = 100.0
ENOUGH = 8
"""Fewer scores may all be positive by chance."""

_FOUND = {
    "softmax": "probabilities that sum to one (it ends in a softmax)",
    "softmax_part": "probabilities (it ends in a softmax of which classes are cut off)",
    "sigmoid": "probabilities of each class alone (it ends in a sigmoid)",
    "log_softmax": "logarithms of probabilities that sum to one (it ends in a log-softmax)",
}

_NO_LOGITS: dict[Kind, str] = {
    "bounded": "0 to 1, and no linear layer computes them, so that they are probabilities",
    "scaled": "a softmax or sigmoid times a factor, as percentages are",
    "constant_sum": "never negative and of the same sum for every image, as percentages are",
    "mixed": "those of a softmax or sigmoid, some of them beyond 0 to 1 or with logits beside them",
    "log": "never positive, and a logarithm or softplus computes them, as logarithms of probabilities are",
}
"""What a network's scores are, as its end and their values show, where they can be no logits."""

_INSTEAD: dict[Kind, str] = {
    "bounded": "Give --activation none",
    "scaled": "Give --activation percent if they are 0 to 100; else export the network without the factor",
    "constant_sum": "Give --activation percent if they are 0 to 100; else export the network without the factor",
    "mixed": "Export the network with one activation for all scores and a bilinear resize, or none, behind it",
    "log": "Give --activation exp",
}

_OTHERWISE = (
    "If training really took them as logits, export the network with its softmax or sigmoid behind them and give "
    "--activation none"
)


def refuse_contradiction(
    stated: Activation | None, kind: Kind, scores: Sequence[Array], ends: set[str]
) -> None:
    """Refuse a stated activation of which the network's scores show that it gives wrong probabilities.

    Args:
        stated: the recipe's, None where it states none.
        kind: what the scores are.
        scores: on real images.
        ends: what computes them, see `graph_ends`.

    Raises:
        RecipeError: the message says what the scores are, and what to state.
    """
    match stated:
        case "none":
            _refuse_none(kind, scores)
        case "percent":
            _refuse_percent(kind, scores)
        case "exp":
            refuse_exp(scores, ends)
        case "softmax" | "sigmoid":
            refuse_again(stated, kind)
            _refuse_on_top(stated, kind, scores, ends)


def refuse_other_unit(
    stated: Activation | None, graph: Graph, tensor: str, scores: Sequence[Array], axis: int | None
) -> None:
    """Refuse percentages or logarithms that are stated, where the graph or the values show another unit.

    Args:
        stated: the recipe's, None where it states none.
        graph: computes the scores.
        tensor: their name.
        scores: on real images.
        axis: that of the classes, None where the network names the class of each box.

    Raises:
        RecipeError: the message says which unit they are in.
    """
    match stated:
        case "exp":
            if value_range(scores)[1] <= RANGE_TOLERANCE:
                refuse_other_base(graph, tensor, scores, axis)
        case "percent":
            refuse_cut_percentages(graph, tensor)
        case "softmax" if are_whole_percentages(scores) and graph_ends(graph, tensor) != {"linear"}:
            raise never_negative(stated, scores)


def refuse_again(stated: Activation | None, kind: Kind) -> None:
    """Refuse an activation, also one that --multi-label implies, that the network has already applied.

    The softmax of logarithms of probabilities is these probabilities.
    """
    probabilities = {"softmax", "softmax_part", "sigmoid"}
    again = {"softmax": probabilities, "sigmoid": {*probabilities, "log_softmax"}}
    if stated in again and kind in again[stated]:
        option = (
            "--activation sigmoid, or --multi-label,"
            if stated == "sigmoid"
            else "--activation softmax"
        )
        raise RecipeError(
            f"The network's scores are {_FOUND[kind]}. {option} would be applied on top of that. Leave it out"
        )


def are_never_negative(scores: Sequence[Array], ends: set[str]) -> bool:
    """Return whether a sigmoid would always give each class at least 0.5; those of a linear layer are so by chance."""
    count = sum(one.size for one in scores)
    return count >= ENOUGH and ends != {"linear"} and value_range(scores)[0] >= 0


def never_negative(stated: Activation, scores: Sequence[Array]) -> RecipeError:
    """Return the error of a sigmoid or softmax that is stated of scores that can be no logits."""
    low, high = value_range(scores)
    what = (
        "a sigmoid would give every class at least 0.5 in every image"
        if stated == "sigmoid"
        else "they are percentages rather than logits"
    )
    instead = (
        "Give --activation percent if they are percentages"
        if high <= HIGHEST_PERCENT + RANGE_TOLERANCE
        else "If a factor makes them of probabilities, export the network without it"
    )
    return RecipeError(
        f"--activation {stated}: the scores are {low:.3g} to {high:.3g} on real images and never negative, so that "
        f"{what}. {instead}. {_OTHERWISE}"
    )


def logarithms(stated: Activation) -> RecipeError:
    """Return the error of a sigmoid or softmax that is stated of logarithms of probabilities."""
    return _no_logits(stated, "log")


def refuse_exp(scores: Sequence[Array], ends: set[str]) -> None:
    """Refuse that positive scores, or those of a linear layer, are logarithms of probabilities.

    Raises:
        RecipeError: they are such scores.
    """
    low, high = value_range(scores)
    found = f"they are {low:.3g} to {high:.3g} on real images"
    if not high <= RANGE_TOLERANCE:
        raise RecipeError(
            f"--activation exp says that the scores are logarithms of probabilities, which are never positive, but "
            f"{found}. {_other(scores)}"
        )
    if ends == {"linear"}:
        raise RecipeError(
            f"--activation exp says that the scores are logarithms of probabilities, but a linear layer computes them "
            f"({found[9:]}). Give --activation softmax or sigmoid, which is for logits"
        )


def refuse_no_percentages(scores: Sequence[Array]) -> None:
    """Refuse that scores beyond 0 to 100 are percentages.

    Raises:
        RecipeError: they are such scores.
    """
    low, high = value_range(scores)
    if not (
        low >= -HIGHEST_PERCENT * RANGE_TOLERANCE
        and high <= HIGHEST_PERCENT * (1 + RANGE_TOLERANCE)
    ):
        raise RecipeError(
            f"--activation percent says that the scores are 0 to 100, but they are {low:.3g} to {high:.3g} on real "
            f"images. {_other(scores)}"
        )


def _refuse_percent(kind: Kind, scores: Sequence[Array]) -> None:
    refuse_no_percentages(scores)
    if kind in _FOUND or (in_unit_range(scores) and kind != "scaled"):
        low, high = value_range(scores)
        raise RecipeError(
            f"--activation percent says that the scores are 0 to 100, but they are {low:.3g} to {high:.3g} on real "
            "images, as probabilities are. Give --activation none; or, if none is above 1 %, images of what it finds "
            "with --images"
        )


def _refuse_none(kind: Kind, scores: Sequence[Array]) -> None:
    low, high = value_range(scores)
    if in_unit_range(scores):
        if kind == "scaled":
            raise RecipeError(
                "--activation none says that the scores are probabilities, but the network multiplies those of its "
                f"softmax or sigmoid; that all are {low:.3g} to {high:.3g} on real images is by chance. "
                f"{_INSTEAD[kind]}"
            )
        return
    raise RecipeError(
        f"--activation none says that the scores are probabilities, but they are {low:.3g} to {high:.3g} on real "
        f"images. {_other(scores, kind)}"
    )


def _refuse_on_top(stated: Activation, kind: Kind, scores: Sequence[Array], ends: set[str]) -> None:
    if kind in _NO_LOGITS:
        raise _no_logits(stated, kind)
    if stated == "sigmoid" and are_never_negative(scores, ends):
        raise never_negative(stated, scores)


def _no_logits(stated: Activation, kind: Kind) -> RecipeError:
    return RecipeError(
        f"--activation {stated} is for logits, but the network's scores are {_NO_LOGITS[kind]}. {_INSTEAD[kind]}. "
        f"{_OTHERWISE}"
    )


def _other(scores: Sequence[Array], kind: Kind | None = None) -> str:
    """Return what may be stated of scores instead."""
    low, high = value_range(scores)
    if kind in {"log", "log_softmax"}:
        return "They are logarithms of probabilities: give --activation exp"
    options = ["softmax or sigmoid if they are logits"]
    if low >= 0 and 1 < high <= HIGHEST_PERCENT * (1 + RANGE_TOLERANCE):
        options.append("percent if they are percentages")
    if high <= RANGE_TOLERANCE:
        options.append("exp if they are logarithms of probabilities")
    if in_unit_range(scores):
        options.append("none if they are probabilities")
    return f"Give --activation {', '.join(options)}"
