"""An AVI's index → when its frames are shown, where frames are reordered and some periods hold none.

An AVI stores a packet in each period, in decoding order, and an empty one where a frame stays. A decoder that reorders
frames returns each one a few packets late, so the empty packets lie as many frames too late in the file.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Protocol

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.video.bitstream import Describe

MOST_REORDERED = 17
"""A decoder that has no frame after so many packets has none of use: H.264 and HEVC reorder 16 frames at most."""


class Decoder(Protocol):
    """Decodes packets in their order."""

    def decode(self, packet: "Packet[VideoStream]", /) -> list[VideoFrame]: ...


def periods_of_packets(stream: VideoStream) -> list[int]:
    """Return the periods whose packet is not empty, rising; empty where the file has no index."""
    return sorted({entry.timestamp for entry in stream.index_entries if entry.size})


def has_gaps(periods: Iterable[int]) -> bool:
    """Return whether some periods between the first and the last hold no packet."""
    return any(after - before > 1 for before, after in pairwise(periods))


def reorder_delay(
    packets: Iterable["Packet[VideoStream]"], decoder: Decoder, describe: Describe | None
) -> int:
    """Return how many packets after its own a decoder returns the first frame; 0 where nothing is reordered.

    Args:
        packets: of the whole file.
        decoder: of the file.
        describe: says of each packet whether it depends on a later one; None where the codec's packets do not say it.
    """
    delay = None
    for number, packet in enumerate(packets):
        if delay is None and decoder.decode(packet):
            delay = number
        elif delay is None and number >= MOST_REORDERED:
            return 0
        # Decoders of MPEG wait for a packet more even if the file reorders nothing.
        if delay is not None and (describe is None or describe(bytes(packet)).is_bidirectional):
            return delay
    return 0


def shown_periods(periods: list[int], delay: int) -> Mapping[int, int]:
    """Return the period in which the n-th frame is shown, by the period of the n-th packet.

    The decoder returns the n-th frame with packet n + `delay`; as many periods as that takes at the start are left out.
    """
    if not 0 < delay < len(periods):
        return {}
    shift = periods[delay] - periods[0]
    after = [periods[-1] + number for number in range(1, delay + 1)]
    returned = periods[delay:] + after
    return {one: other - shift for one, other in zip(periods, returned, strict=True)}
