"""What is known of a coded packet without decoding it."""

from typing import Literal, NamedTuple

Entry = Literal["none", "open", "closed"]
"""Whether decoding can begin at a packet; `open`: except for the packets after it that are shown before it."""


class Coded(NamedTuple):
    """What a packet's bits say. `shows`: whether it shows one frame, None where only decoding can say it."""

    entry: Entry
    shows: bool | None = True
    is_bidirectional: bool = False
    """Whether the frame depends on a later one: after a key frame, it is shown before it."""
