"""The number of labels in words, and its likely cause where the network has other classes."""

from collections.abc import Sequence

from exporter.label_lines import NAME_HEADINGS

_SHOWN = 5


def counted(labels: Sequence[str], how: str) -> str:
    """Return how many labels there are, and which class ids have none.

    Args:
        labels: by class id; an empty one is none.
        how: what they are, such as `given`.
    """
    lacking = [str(class_id) for class_id, label in enumerate(labels) if not label]
    named = len(labels) - len(lacking)
    if not lacking or not named:
        return f"{len(labels)} are {how}"
    shown = ", ".join(lacking[:_SHOWN]) + ", …" * (len(lacking) > _SHOWN)
    have = "has none" if len(lacking) == 1 else "have none"
    return f"{named} are {how} for the class ids 0 to {len(labels) - 1} ({shown} {have})"


def likely_cause(labels: Sequence[str], needed: int) -> str:
    """Return why there may be more labels than the network needs, with a blank before it; "" where nothing shows it."""
    if sum(map(bool, labels)) == needed < len(labels):
        return " If the outputs are the labels in this order, number these without a gap."
    if len(labels) == needed + 1 and labels[0].lower() in NAME_HEADINGS:
        return f" The first label, {labels[0]!r}, may be the heading of the file: remove that line."
    return ""
