"""The labels of a network's classes: the recipe's, else the source's."""

from exporter.checks import check_labels
from exporter.errors import RecipeError
from exporter.heads.background import leaves_background_out, with_background_label
from exporter.heads.detect import DetectHead
from exporter.heads.detector_steps import check_labels_of
from exporter.heads.segment import SegmentHead
from exporter.network import Network
from exporter.recipe import Recipe


def labels_for(recipe: Recipe, network: Network) -> tuple[str, ...]:
    """Return the recipe's labels, else the source's; a detector's background gets an empty one where it has none.

    Raises:
        RecipeError: their number is not that of the classes.
    """
    head, stated = network.head, recipe.label_list() or ()
    if (
        isinstance(head, SegmentHead)
        and head.channels == 1
        and stated
        and len(stated) != head.classes
    ):
        raise RecipeError(
            f"labels: {len(stated)} are given, and the network has one map, the score of the second of two classes. "
            "Give two labels, the background's first. If the map holds the class id of each pixel, export the network "
            "without its ArgMax, or name the output before it with --outputs"
        )
    needed = network.head.classes
    if isinstance(head, DetectHead):
        known = stated or network.facts.labels or ()
        check_labels_of(head, known)
        if leaves_background_out(head, known):
            labels = check_labels(recipe, network.facts, head.columns - 1)
            return with_background_label(head, labels)
        needed = needed or len(network.facts.labels or ()) or None
    return check_labels(recipe, network.facts, needed)
