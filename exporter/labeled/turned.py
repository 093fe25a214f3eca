"""Whether measured answers are right where the class with the smallest score is taken, as of distances."""

from exporter.labeled.measure import Measurement
from service.labeled.scores import chance, is_at_chance

CLEARLY_MORE = 0.1
"""By how much the share must be larger than that of the right answers."""


def turned_hints(measurement: Measurement, *, is_reordered: bool) -> list[str]:
    """Return a hint if the class with the smallest score is right far more often than the answer.

    Args:
        measurement: the answers and the truth.
        is_reordered: whether another order of the labels explains the answers too.
    """
    if not measurement.smallest:
        return []
    share = _share(measurement.smallest, measurement.truth)
    by_chance = chance(measurement.smallest, measurement.truth)
    images = len(measurement.truth)
    if by_chance is None or is_at_chance(share, by_chance, images):
        return []
    right = _share(measurement.answers, measurement.truth)
    if share < right + CLEARLY_MORE:
        return []
    found = f"The class with the smallest score is right for {share:.1%} of {images} labeled images"
    cause = "The scores are distances, costs or energies, or their sign is turned"
    step = "export the network with the opposite sign"
    if is_reordered:
        cause = f"Where the labels are in the right order, {cause[0].lower()}{cause[1:]}"
        step = f"then {step}"
    instead = " Or the two labels are exchanged" * (len(set(measurement.truth)) == 2)
    return [f"{found}, the answer for {right:.1%}. {cause}: {step}.{instead}"]


def _share(answers: tuple[int, ...], truth: tuple[int, ...]) -> float:
    right = sum(one == other for one, other in zip(answers, truth, strict=True))
    return right / len(truth)
