"""Wrong answers that would be right if the labels were in another order: the order, and the accuracy that it has."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exporter.labeled.alternatives import CLEARLY_BETTER
from exporter.labeled.chance import is_luck
from exporter.labeled.measure import Measurement
from service.labeled.scores import chance, is_at_chance
from service.labeled.truth import LabeledImages

FAR_BETTER = 0.2
MOSTLY = 0.5
"""An order without a name is believed from this accuracy on, on images that it was not made from."""

SEVERAL = 5
SEVERAL_IN_IMAGES = 2
"""The same for boxes and areas, of which an image has some: few images have several of a class."""

MOST_LOST = 0.1
"""The share of the classes with several images that may have no right answer: an order gives each class its own."""

SHOWN = 5
UNKNOWN = -1

_OF_IMAGES = (
    "top1 is {now:.1%}, and would be {then:.1%} on the same {count} labeled images "
    "if the labels were in another order"
)
_OF_BOXES = (
    "The class is right for {now:.1%} of the {count} labeled objects on which a box is found, and would be for "
    "{then:.1%} if the labels were in another order"
)
_OF_AREAS = (
    "Most pixels have the right class in {now:.1%} of the {count} areas of the masks, one for each class of an image, "
    "and would have it in {then:.1%} if the labels were in another order"
)

Order = Sequence[int]
"""For each output of the network, the index of its label in the list of labels."""


@dataclass(frozen=True, slots=True)
class OtherOrder:
    """An order of the labels with which far more answers are right; `words` name it, or some of its pairs."""

    words: str
    accuracy: float


def order_hints(
    measurement: Measurement,
    labels: tuple[str, ...],
    labeled: LabeledImages,
    *,
    explained: float = 0.0,
) -> list[str]:
    """Return that the labels are probably in another order, if they are.

    Args:
        measurement: the answers and the truth of a network with one class an image, or the classes of found boxes and
            of areas of masks; one with several labels an image shows nothing here.
        labels: the network's, by class id.
        labeled: the images, whose classes may be named by index.
        explained: the best accuracy that another input has, which explains the answers where an order is no better.
    """
    seen = _seen(measurement)
    if not seen.truth:
        return []
    found = _named(seen, labels)
    if found is None or found.accuracy < explained - CLEARLY_BETTER:
        found = None
        # Of boxes and masks the score of another input is another one: any that is better explains the answers.
        if measurement.answers or not explained:
            found = _unnamed(seen, labels, explained)
    if found is None:
        return []
    now = sum(map(int.__eq__, seen.answers, seen.truth)) / len(seen.truth)
    would = seen.words.format(now=now, then=found.accuracy, count=len(seen.truth))
    return [f"{would}: {found.words}. {_advice(labels, labeled, measurement)}"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was answered and what is true, sorted by the true class; `unit` is what was judged, in the plural.

    From `several` of a class on an order has to give it a right answer.
    """

    answers: Sequence[int]
    truth: Sequence[int]
    unit: str
    words: str
    several: int = SEVERAL_IN_IMAGES


def _seen(measurement: Measurement) -> _Seen:
    if measurement.answers:
        return _Seen(measurement.answers, measurement.truth, "images", _OF_IMAGES, SEVERAL)
    pairs = sorted(measurement.boxes or measurement.areas, key=lambda pair: pair[1])
    answers, truth = ([pair[at] for pair in pairs] for at in range(2))
    if measurement.boxes:
        return _Seen(answers, truth, "boxes", _OF_BOXES)
    return _Seen(answers, truth, "areas", _OF_AREAS)


def _advice(labels: Sequence[str], labeled: LabeledImages, measurement: Measurement) -> str:
    give = "give --labels in the order of the training, one for each output of the network"
    if measurement.areas:
        masks = f"If the masks of {labeled.name} number the classes otherwise"
        return f"{masks}, write the indices of the labels into them; else {give}"
    cells = {cell for image in labeled.images for cell in image.cells}
    cells |= {box.name for image in labeled.images for box in image.boxes}
    if cells.isdisjoint(labels) and all(cell.isdecimal() for cell in cells):
        return (
            f"The classes of {labeled.name} are numbers, which are read as indices of the labels. If they are others, "
            f"as numbers of the folders of the training, name the classes by their labels; else {give}"
        )
    if measurement.boxes:
        return f"If {labeled.name} gives the categories other names than the training, correct it; else {give}"
    return give.capitalize()


def _named(seen: _Seen, labels: Sequence[str]) -> OtherOrder | None:
    found = [
        OtherOrder(f"{words} ({_listed(order, labels)})", _accuracy(order, seen))
        for words, order in _orders(labels)
        if _is_far_better(order, seen)
    ]
    return max(found, key=lambda one: one.accuracy, default=None)


def _orders(labels: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the orders that trainings and files of labels differ by, each once."""
    count = len(labels)
    ids = range(count)
    folders = "as a training on folders sorts them"
    known = {
        f"by their ids as text, {folders}": sorted(ids, key=str),
        f"by their text, {folders}": sorted(ids, key=lambda at: labels[at]),
        f"by their text without regard to case, {folders}": sorted(
            ids, key=lambda at: labels[at].casefold()
        ),
        "reversed": [*reversed(ids)],
        "shifted by one, the first output has the second label": [(at + 1) % count for at in ids],
        "shifted by one, the second output has the first label": [(at - 1) % count for at in ids],
    }
    if all(label.isascii() and label.isdecimal() for label in labels):
        known["by their numbers"] = sorted(ids, key=lambda at: int(labels[at]))
    seen = [list(ids)]
    for words, order in known.items():
        if order not in seen:
            seen.append(order)
            yield words, order


def _listed(order: Order, labels: Sequence[str]) -> str:
    more = ", …" if len(order) > SHOWN else ""
    return ", ".join(labels[at] for at in order[:SHOWN]) + more


def _unnamed(seen: _Seen, labels: Sequence[str], explained: float) -> OtherOrder | None:
    """Return the order that fits the answers best, None where it is not far better on images it was not made from.

    Every second image makes the order that the others are judged by: they are sorted by class.
    """
    answers, truth = seen.answers, seen.truth
    halves = [(answers[begin::2], truth[begin::2]) for begin in range(2)]
    made = [_fitted(*half, len(labels)) for half in halves]
    orders = [made[1 - at % 2] for at in range(len(truth))]
    read = [order[answer] for order, answer in zip(orders, answers, strict=True)]
    order = _fitted(answers, truth, len(labels))
    if not (_gains(read, seen) and _is_far_better(order, seen)):
        return None
    accuracy = sum(map(int.__eq__, read, truth)) / len(truth)
    if accuracy < max(MOSTLY, explained + CLEARLY_BETTER):
        return None
    pairs = Counter(zip(answers, truth, strict=True))
    shown = [
        f"{labels[true]!r} where {labels[answer]!r} is answered ({pairs[answer, true]} {seen.unit})"
        for answer, true in enumerate(order)
        if true not in {answer, UNKNOWN}
    ]
    return OtherOrder(", ".join(shown[:SHOWN]) + ", …" * (len(shown) > SHOWN), accuracy)


def _fitted(answers: Sequence[int], truth: Sequence[int], count: int) -> list[int]:
    """Return the class that each answer stands for, each at most once, the commonest pairs first."""
    order = [UNKNOWN] * count
    taken: set[int] = set()
    for (answer, true), _ in Counter(zip(answers, truth, strict=True)).most_common():
        if order[answer] == UNKNOWN and true not in taken:
            order[answer] = true
            taken.add(true)
    return order


def _accuracy(order: Order, seen: _Seen) -> float:
    right = [order[answer] == true for answer, true in zip(seen.answers, seen.truth, strict=True)]
    return sum(right) / len(seen.truth)


def _is_far_better(order: Order, seen: _Seen) -> bool:
    return _gains([order[answer] for answer in seen.answers], seen)


def _gains(read: Sequence[int], seen: _Seen) -> bool:
    """Return whether far more answers are right as they are read, not by luck nor as most images are of one class."""
    truth = seen.truth
    new = [float(one == true) for one, true in zip(read, truth, strict=True)]
    old = [float(one == true) for one, true in zip(seen.answers, truth, strict=True)]
    gain = (sum(new) - sum(old)) / len(truth)
    if gain < FAR_BETTER or is_luck(new, old) or _loses_classes(new, truth, seen.several):
        return False
    known = [one if one != UNKNOWN else max(*read, *truth) + 1 for one in read]
    by_chance = chance(known, truth)
    return by_chance is not None and not is_at_chance(sum(new) / len(truth), by_chance, len(truth))


def _loses_classes(right: Sequence[float], truth: Sequence[int], several: int) -> bool:
    """Return whether classes have no right answer, as where a network has the same few answers for all images."""
    enough = [one for one, count in Counter(truth).items() if count >= several]
    found = {true for one, true in zip(right, truth, strict=True) if one}
    return sum(one not in found for one in enough) > MOST_LOST * len(enough)
