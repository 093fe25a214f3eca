"""The way of a run through one tar shard: where it begins, and the passages that it leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from service.bulk.item import Done
from service.bulk.passages import Passage, Passages, linked

UNKNOWN_BYTES = -1
"""Of a shard whose size nobody has said."""


def beginning(shard: str, size: int = UNKNOWN_BYTES) -> Passage:
    """Return where a shard begins."""
    return Passage(shard, size, offset=0, images=0, names="", others=0)


@dataclass(slots=True)
class Way:
    """How far this run has come in a shard.

    Args:
        passages: of all shards; None: this one leaves none behind.
        at: of this shard; where the earlier run came to, or its beginning.
        is_sought: whether the shard can be read from any byte on, so that a passage within it is of use.
    """

    passages: Passages | None
    at: Passage
    is_sought: bool = False
    begin: int = field(init=False)
    """The byte of the shard from which on it is read."""

    def __post_init__(self) -> None:
        self.begin = self.at.offset

    @property
    def is_at_end(self) -> bool:
        return self.begin == self.at.size

    def asking(self, done: Done) -> Done:
        """Return what answers as `done` does; the image counts as one on this way."""

        def asked(image: str) -> bool:
            self.at = replace(
                self.at, images=self.at.images + 1, names=linked(self.at.names, image)
            )
            return done(image)

        return asked

    def skipping(self, skipped: Callable[[], None]) -> Callable[[], None]:
        """Return what does the same as `skipped`; what the earlier run left out is left out at once."""

        def skip() -> None:
            self.at = replace(self.at, others=self.at.others + 1)
            skipped()

        for _ in range(self.at.others):
            skipped()
        return skip

    def come_to(self, offset: int | None) -> None:
        """Note that all before this byte was yielded; None where the shard can not be read from there on."""
        if (
            self.passages is not None
            and self.is_sought
            and offset is not None
            and offset - self.at.offset >= self.passages.spacing_bytes
        ):
            self.at = replace(self.at, offset=offset)
            self.passages.reach(self.at)

    def end(self) -> None:
        """Note that all of the shard was yielded."""
        if self.passages is not None:
            self.passages.reach(replace(self.at, offset=self.at.size))
