"""How far the rows of a run have come in each tar shard, in a file beside the results: so that `--resume` begins there.

A tar file has no index, and one elsewhere would be fetched from its start only to learn the names of what is done. A
passage is believed only where the rows say the same; without the file, shards are read from their start as well.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path

from service.bulk.item import Item

SPACING_BYTES = 32 << 20
"""So far passages of one shard are apart."""
MOST_BYTES = 64 << 20
"""Of the file; a larger one is not ours."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A place in a shard before which all is done.

    Attributes:
        shard: its name in the rows.
        size: of the shard in bytes; one of another size is another shard.
        offset: of the member in bytes that comes next; `size` at the end of the shard.
        images: how many come before.
        names: their names, by `linked`.
        others: how many members before are no images.
    """

    shard: str
    size: int
    offset: int
    images: int
    names: str
    others: int


def linked(before: str, name: str) -> str:
    """Return what stands for a sequence of names that is longer by one."""
    return blake2b(f"{before}{name}".encode(), digest_size=16).hexdigest()


class Passages:
    """The passages of one file of results. Where they can not be read or written, there are none.

    Args:
        path: of their file; it is made with the first passage.
        has_rows: returns whether the next rows of the earlier run are those of this passage, and takes them if so.
        spacing_bytes: see `SPACING_BYTES`.
    """

    def __init__(
        self,
        path: Path,
        has_rows: Callable[[Passage], bool],
        spacing_bytes: int = SPACING_BYTES,
    ) -> None:
        self.spacing_bytes = spacing_bytes
        self._path = path
        self._has_rows = has_rows
        self._earlier = _read(path)
        self._waiting: deque[tuple[int, Passage]] = deque()
        self._taken = 0
        self._can_write = True

    def counted(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield the images of the sources, and count them."""
        for item in items:
            self._taken += 1
            yield item

    def earlier(self, shard: str, size: int) -> Passage | None:
        """Return how far the earlier run came in a shard; None where that is not certain, or nowhere."""
        found = self._earlier.pop(shard, None)
        if found is None or found.size != size or not self._has_rows(found):
            return None
        return found

    def reach(self, passage: Passage) -> None:
        """Note a passage: it is one when all images that were yielded until now have their row."""
        self._waiting.append((self._taken, passage))

    def written(self, images: int) -> None:
        """Write the passages behind the rows of so many images of this run."""
        reached = []
        while self._waiting and self._waiting[0][0] <= images:
            reached.append(self._waiting.popleft()[1])
        if not reached or not self._can_write:
            return
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in reached)
        try:
            with self._path.open("a") as file:
                file.write(lines)
        except OSError:  # the rows matter, and have an error of their own
            self._can_write = False


def _read(path: Path) -> dict[str, Passage]:
    """Return the last passage of each shard."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    found: dict[str, Passage] = {}
    for line in lines:
        if (passage := _passage(line)) is not None:
            found[passage.shard] = passage
    return found


def _passage(line: bytes) -> Passage | None:
    """Return the passage that a line holds; None where a kill or a full disk cut it."""
    kinds = {one.name: one.type for one in fields(Passage)}
    try:
        read = json.loads(line)
        whole = set(read) == set(kinds) and all(type(read[name]) is kinds[name] for name in kinds)
        return Passage(**read) if whole and 0 <= read["offset"] <= read["size"] else None
    except (ValueError, TypeError):
        return None
