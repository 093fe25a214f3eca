"""Which candidates of a detector a graph leaves out on the images of the proof, so that crowds may lose objects."""

import numpy as np

from exporter.heads.detect import DetectHead
from exporter.heads.found_boxes import SEEN_SCORE
from exporter.heads.metrics import suppress
from exporter.heads.thinning import CLEAR, MOST_CONSIDERED, NMS_IOU
from exporter.network import Head, Outputs
from exporter.recipe_tables import MOST_CANDIDATES
from service.card import CutCandidates


class CutOff:
    """On how many images of the proof candidates were cut off that a request might have shown, and by which bound.

    There are two: the number of candidates that the graph returns, and the number that it suppresses in a crowd.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._images = self._full = self._crowded = 0
        self._below = 0.0

    def add(self, found: Outputs, expected: Outputs) -> None:
        """Add what the graph and the source give for one image, each a batch of one."""
        self._images += 1
        head = self._head
        if not isinstance(head, DetectHead) or head.recipe.nms_free or not head.is_cut:
            return
        if _is_full(head, found):
            self._full += 1
            self._below = max(self._below, float(found["scores"][0][-1]))
        elif head.thins and _is_crowded(expected):
            self._crowded += 1
            self._below = max(self._below, float(expected["scores"][0][MOST_CONSIDERED - 1]))

    @property
    def cut(self) -> CutCandidates | None:
        """What the card says; None where nothing was cut off."""
        images = self._full + self._crowded
        if not images:
            return None
        return CutCandidates(images=images, of=self._images, below=round(self._below, 4))

    def hints(self) -> list[str]:
        """Return a hint for each bound that was met."""
        return [*self._of_returned(), *self._of_suppressed()]

    def _of_returned(self) -> list[str]:
        if not (self._full and isinstance(self._head, DetectHead)):
            return []
        count = self._head.candidates
        full = (
            f"On {self._full} of {self._images} images of the proof, all {count} candidates have a score of "
            f"{SEEN_SCORE} or more, so that boxes beyond them are lost"
        )
        if count == MOST_CANDIDATES:
            return [full]
        more = min(2 * count, MOST_CANDIDATES)
        return [f"{full}. Give more, up to {MOST_CANDIDATES}: --candidates {more}"]

    def _of_suppressed(self) -> list[str]:
        if not (self._crowded and isinstance(self._head, DetectHead)):
            return []
        met = (
            f"On {self._crowded} of {self._images} images of the proof, more than {MOST_CONSIDERED} candidates have a "
            f"score of {CLEAR} or more. The graph suppresses the best {MOST_CONSIDERED} alone, so that objects of a "
            f"score below {self._below:.2f} may be lost there"
        )
        has_pairs = self._head.columns > 1 and not self._head.recipe.one_class_a_box
        return [f"{met}. --one-class-a-box makes fewer of them" if has_pairs else met]


def _is_full(head: DetectHead, outputs: Outputs) -> bool:
    """Return whether clear candidates of an image, a batch of one, were cut off that suppression might have kept."""
    scores = outputs["scores"][0]
    # The candidates are sorted: if the last one is clear too, others were cut off.
    if scores[-1] < SEEN_SCORE:
        return False
    if not head.thins:
        return True
    # What the graph's own suppression keeps comes first: where there was room for another one, all of it is there.
    kept = suppress(outputs["boxes"][0], scores, outputs["classes"][0], NMS_IOU)
    return len(kept) == len(scores)


def _is_crowded(expected: Outputs) -> bool:
    return int(np.count_nonzero(expected["scores"][0] >= CLEAR)) > MOST_CONSIDERED
