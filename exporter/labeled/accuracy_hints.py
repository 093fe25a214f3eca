"""Hints about accuracy that was measured on labeled images: its likely cause where it is low, and what is better."""

from exporter.labeled.alternatives import Better
from exporter.labeled.measure import Measurement
from service.labeled.reading import lacking
from service.labeled.scores import chance, is_at_chance

SHOWN = 5
LOST = 0.02
LOWEST = {"map": 0.01, "miou": 0.05}
"""Less than this is no useful network, by the name of the score; classes are held against chance."""


def accuracy_hints(measurement: Measurement) -> list[str]:
    """Return hints about measured accuracy: at chance, less than the source's own, or of labels without an answer."""
    accuracy = measurement.accuracy
    hints = []
    name, score = next(iter(accuracy.scores.items()))
    low = _why_low(measurement, name, score)
    if low is not None:
        hints.append(
            f"{low}. --mean, --std, --scale, --color or --resize are probably wrong, the labels are in another order, "
            "or the weights are not trained"
        )
    lost = accuracy.reference.get(name, score) - score
    if lost > LOST:
        hints.append(
            f"{name} is {score:.1%}, the source's own is {score + lost:.1%} on the same pixels: the conversion loses "
            f"{lost:.1%}. Use --precision fp32, or calibrate on more images of your own with --images"
        )
    if measurement.lacks:
        hints.append(
            f"{measurement.name} has {lacking(measurement.lacks)}: it was measured as if no image had them"
        )
    if measurement.left_out:
        reasons = "; ".join(measurement.left_out[:SHOWN])
        more = f"; and {len(measurement.left_out) - SHOWN} more" * (
            len(measurement.left_out) > SHOWN
        )
        count = len(measurement.left_out)
        left_out = "1 image" if count == 1 else f"{count} images"
        hints.append(f"{left_out} of {measurement.name} could not be used: {reasons}{more}")
    return hints


def better_hints(better: Better) -> list[str]:
    """Return the hint that other pixel values fit the labeled images better than the assumed ones."""
    assumed = f"{better.metric} of the source is {better.assumed_score:.1%} with what is assumed"
    found = ", ".join(f"{score:.1%} with {options}" for options, score in better.scores)
    choice = (
        ". These are too close to each other to choose: take the values of the training"
        if len(better.scores) > 1
        else ""
    )
    return [f"{assumed}, {found}, on {better.images} labeled images{choice}"]


def _why_low(measurement: Measurement, name: str, score: float) -> str | None:
    images = measurement.accuracy.images
    if measurement.answers:
        by_chance = chance(measurement.answers, measurement.truth)
        if by_chance is None or not is_at_chance(score, by_chance, images):
            return None
        return f"{name} is {score:.1%} on {images} labeled images, and answers by chance would give {by_chance:.1%}"
    if score >= LOWEST.get(name, 0.0):
        return None
    return f"{name} is {score:.1%} on {images} labeled images: almost nothing is right"
