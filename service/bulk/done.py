"""Which images have a row already, where a run goes on."""

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice

from service.bulk.passages import Passage, linked
from service.bulk.rows import Row, Served, is_failure


class Done:
    """Answers for one image after the other whether an earlier run has its row.

    The rows are read beside the sources, which usually come in the same order; then nothing is kept in memory. An image
    that comes twice has two rows.

    Args:
        rows: of the earlier run.
        served: what answers now; the rows must be of the same version.
        where: what the rows are in, for messages.
    """

    def __init__(self, rows: Iterator[Row], served: Served, where: str) -> None:
        self._rows = rows
        self._served = served
        self._where = where
        self._passed: Counter[bytes] = Counter()
        self.count = 0
        """How many images were done before, as far as they have been asked for."""
        self.codes: Counter[str] = Counter()
        """How many of the rows that have been read are errors, by code."""

    def has(self, image: str) -> bool:
        """Return whether the image has a row that no earlier call has found.

        Raises:
            ConfigurationError: a row is of another model or version.
        """
        wanted = _digest(image)
        if self._passed[wanted]:
            self._passed[wanted] -= 1
            return self._found()
        del self._passed[wanted]
        for row in self._rows:
            self._note(row)
            found = _digest(row["image"])
            if found == wanted:
                return self._found()
            self._passed[found] += 1
        return False

    def has_rows_of(self, passage: Passage) -> bool:
        """Return whether the next rows are those of the images before a place in a shard; then they are found.

        Raises:
            ConfigurationError: a row is of another model or version.
        """
        names, passed = "", []
        for row in islice(self._rows, passage.images):
            self._note(row)
            names = linked(names, row["image"])
            passed.append(_digest(row["image"]))
        if len(passed) == passage.images and names == passage.names:
            self.count += passage.images
            return True
        self._passed.update(passed)
        return False

    def left_over(self) -> int:
        """Return how many rows belong to no image that was asked for, when all were; `has` is not called afterwards.

        Raises:
            ConfigurationError: a row is of another model or version.
        """
        left = sum(self._passed.values())
        for row in self._rows:
            self._note(row)
            left += 1
        return left

    def _note(self, row: Row) -> None:
        self._served.require_same(row, self._where)
        if is_failure(row):
            self.codes[row["error"]["code"]] += 1

    def _found(self) -> bool:
        self.count += 1
        return True


def _digest(image: str) -> bytes:
    return blake2b(image.encode(), digest_size=16).digest()
