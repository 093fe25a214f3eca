"""Pieces of what arrives, joined so that memory holds them once."""

import io

JOINED_BYTES = 8 * 2**20
"""The pieces of what is larger are joined as they come: to join them at the end would take its memory twice."""


class JoinedPieces:
    """Collects pieces.

    Args:
        announced: their size together in bytes, 0 where it is not known; it must be bounded.
    """

    def __init__(self, announced: int = 0) -> None:
        self.size = 0
        self._announced = announced
        self._pieces: list[bytes] = []
        self._joined: io.BytesIO | None = None

    @property
    def are_joined(self) -> bool:
        """Whether they are joined as they come."""
        return self._joined is not None

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._joined is None and self.size > JOINED_BYTES:
            # All at once where the size is known: to grow takes twice the memory in malloc's heap.
            self._joined = io.BytesIO(bytes(self._announced))
            pieces, self._pieces = self._pieces, []
            self._joined.writelines(pieces)
        if self._joined is not None:
            self._joined.write(piece)
        else:
            self._pieces.append(piece)

    def take(self) -> bytes:
        """Return them as a whole and drop the pieces, so that memory holds them once."""
        pieces, self._pieces = self._pieces, []
        joined, self._joined = self._joined, None
        if joined is None:
            return b"".join(pieces)
        joined.truncate(self.size)
        return joined.getvalue()
