"""Pieces are joined in order, the large ones as they come."""

import pytest

from service.api.ingest.joined import JOINED_BYTES, JoinedPieces


@pytest.mark.parametrize("announced", [0, JOINED_BYTES + 3, 2 * JOINED_BYTES])
def test_pieces_are_joined_in_order_whatever_was_announced(announced: int) -> None:
    pieces, whole = JoinedPieces(announced), b"ab" + bytes(JOINED_BYTES) + b"c"
    for at in range(0, len(whole), 1 << 20):
        pieces.add(whole[at : at + (1 << 20)])
    assert pieces.are_joined
    assert pieces.size == len(whole)
    assert pieces.take() == whole


def test_small_pieces_are_joined_at_the_end() -> None:
    pieces = JoinedPieces(4)
    for piece in (b"ab", b"", b"c"):
        pieces.add(piece)
    assert not pieces.are_joined
    assert pieces.take() == b"abc"


def test_nothing_is_empty() -> None:
    assert JoinedPieces().take() == b""
