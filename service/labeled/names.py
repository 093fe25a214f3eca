"""Names of classes in folders, tables and annotations → the class ids of the network."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from service.errors import LabelsError
from service.labeled.imagenet import WORDNET_IDS

NOTHING = "none"
"""The folder of the images to which no label applies, for networks whose images may have several labels or none."""

_NEGATIVE = re.compile(r"\s*-\s*\d")
"""How a number below zero begins: data sets have -1 where nobody knows the class, and it is not class 1."""
_SEPARATORS = re.compile(r"[|;,]")
_SHOWN = 5


class ClassNames:
    """Finds class ids by name, by the name without regard to case, blanks and hyphens, or by index.

    Where labels are numbers themselves, a number is a label and no index. For networks with the 1,000 classes of
    ImageNet a WordNet id, such as n01440764, is a name too.
    """

    def __init__(self, labels: Sequence[str], *, several: bool = False) -> None:
        """Read the labels.

        Args:
            labels: by class id; an empty one is no class.
            several: whether an image may have several labels, or none.
        """
        self._labels = labels
        self._several = several
        self._numbered = any(label.isdecimal() for label in labels)
        self._exact = _unique((label, class_id) for class_id, label in enumerate(labels))
        self._loose = _unique((loose(label), class_id) for class_id, label in enumerate(labels))
        if len(labels) == len(WORDNET_IDS):
            self._exact |= {name: class_id for class_id, name in enumerate(WORDNET_IDS)}

    def find(self, name: str) -> int | None:
        """Return the id of a class, None where there is no such class or the name is that of several."""
        if name in self._exact:
            return self._exact[name]
        if _NEGATIVE.match(name):
            return None
        if (key := loose(name)) in self._loose:
            return self._loose[key]
        if self._numbered or not (name.isdecimal() and name.isascii()):
            return None
        index = int(name)
        return index if index < len(self._labels) and self._labels[index] else None

    def ids(self, cells: Iterable[str]) -> frozenset[int] | None:
        """Return the ids that cells name, None where a name is unknown.

        A cell is one name or, where an image may have several labels, several with | or ; or a comma between.
        """
        found: set[int] = set()
        for cell in cells:
            whole = self.find(cell)
            if whole is not None:
                found.add(whole)
            elif not self._several:
                return None
            elif cell and loose(cell) != NOTHING:
                parts = [self.find(part.strip()) for part in _SEPARATORS.split(cell)]
                if None in parts:
                    return None
                found.update(part for part in parts if part is not None)
        return frozenset(found)

    def require(self, cells: Iterable[str], where: str) -> None:
        """Refuse cells with unknown names.

        Raises:
            LabelsError: there are some; the message has those nearest to them.
        """
        given = set(cells)
        unknown = sorted(cell for cell in given if self.ids([cell]) is None)
        if not unknown:
            return
        named = [label for label in self._labels if label]
        shown = ", ".join(self._described(cell, named) for cell in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        known = ", ".join(named[:_SHOWN]) + (", …" if len(named) > _SHOWN else "")
        nothing = f", or {NOTHING} where no label applies" if self._several else ""
        raise LabelsError(
            f"{where}: {shown}{more}: the network has no such class. Its {len(named)} labels are {known}. "
            f"{self._from_one(given)}Use these names{'' if self._numbered else ', or their indices'}{nothing}"
        )

    def _from_one(self, cells: Iterable[str]) -> str:
        """Return that the classes seem to be numbered from 1, "" where they do not."""
        parts = {part.strip() for cell in cells for part in _SEPARATORS.split(cell)}
        if self._numbered or not all(part.isascii() and part.isdecimal() for part in parts):
            return ""
        numbers = {int(part) for part in parts}
        if min(numbers) != 1 or max(numbers) != len(self._labels):
            return ""
        return (
            "The classes seem to be numbered from 1, and indices begin at 0: subtract 1 from each. "
        )

    def _described(self, cell: str, named: Sequence[str]) -> str:
        same = sum(loose(label) == loose(cell) for label in named)
        if same > 1:
            return f"{cell!r} (the name of {same} classes: use the index)"
        near = difflib.get_close_matches(cell, named, n=1)
        return f"{cell!r} (near: {near[0]!r})" if near else repr(cell)


def loose(name: str) -> str:
    """Return a name without regard to case, blanks, hyphens and underscores."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the ids by name, without the empty name and the names of several classes."""
    listed = [(name, class_id) for name, class_id in pairs if name]
    counts = Counter(name for name, _ in listed)
    return {name: class_id for name, class_id in listed if counts[name] == 1}
