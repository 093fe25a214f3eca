"""Groups of packets → the wanted frames, with their numbers and times; as few other frames as possible are decoded."""

import heapq
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from av.error import FFmpegError
from av.video.frame import VideoFrame

from service.imaging.shortage import require_memory
from service.video.container import OpenVideo, Packet
from service.video.packets import GROUPED_CODECS, Group, PacketReader, Unit

Wants = Callable[[int, float], bool]


class Decoded(NamedTuple):
    """A frame: its number among the shown ones, from 0; its seconds from the file's start; its stored pixels."""

    number: int
    seconds: float
    stored: VideoFrame


class FrameDecoder:
    """Decodes one opened file, once, on one thread. Numbers count shown frames, and times never fall.

    Args:
        video: the file.
        reader: its packets.
        wants: called for each shown frame in order.
        stopped: ends the work before the next packet.
    """

    def __init__(
        self, video: OpenVideo, reader: PacketReader, wants: Wants, stopped: threading.Event
    ) -> None:
        self.decoded = 0
        self.damaged = 0
        self._video = video
        self._context = video.decoder
        # Other libraries read what to skip once, when they are opened.
        self._skips = not video.decoder.name.startswith("lib")
        self._reader = reader
        self._wants = wants
        self._stopped = stopped
        self._number = 0
        self._seconds = 0.0
        self._waiting: list[int] = []

    def frames(self, *, plan: bool = True) -> Iterator[Decoded]:
        """Yield the wanted frames in the order in which they are shown.

        Args:
            plan: leave out what no wanted frame needs.
        """
        for group in self._reader.groups():
            is_planned = plan and group.whole and self._video.codec in GROUPED_CODECS
            stamps = group.stamps() if is_planned else None
            if stamps is None:
                yield from self._all(group)
            elif not self._video.has_stored_times:
                yield from self._by_count(group, stamps)
            elif len(set(stamps)) == len(stamps):
                yield from self._by_time(group, stamps)
            else:
                yield from self._all(group)

    def _by_time(self, group: Group, stamps: Sequence[int]) -> Iterator[Decoded]:
        """Decode what the wanted frames depend on; a packet's own time is that of its frame."""
        wanted = self._wanted(stamps)
        last = -1
        for place, unit in enumerate(group.units):
            if unit.shows and unit.stamp in wanted:
                last = place
        before = self.damaged
        for unit in group.units[: last + 1]:
            is_wanted = unit.shows and unit.stamp in wanted
            if self._skips:
                self._context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
            yield from self._of_stamps(wanted, self._decode(unit.packet))
        if last >= 0:
            yield from self._of_stamps(wanted, self._drain())
            self._note_missing(len(wanted), before)

    def _of_stamps(
        self, wanted: dict[int, tuple[int, float]], frames: Sequence[VideoFrame]
    ) -> Iterator[Decoded]:
        for frame in frames:
            if frame.pts is not None and frame.pts in wanted:
                yield Decoded(*wanted.pop(frame.pts), frame)

    def _by_count(self, group: Group, stamps: Sequence[int]) -> Iterator[Decoded]:
        """Decode up to the last wanted frame; the order of frames from the decoder says which each is."""
        places = {place: found for place, found in enumerate(self._wanted_places(stamps)) if found}
        last = max(places, default=-1)
        if last < 0:
            return
        before = self.damaged
        self._context.skip_frame = "DEFAULT"
        for place, frame in enumerate(self._until_drained(group.units)):
            if place in places:
                yield Decoded(*places.pop(place), frame)
            if place == last:
                break
        self._drain()
        self._note_missing(len(places), before)

    def _until_drained(self, units: Sequence[Unit]) -> Iterator[VideoFrame]:
        for unit in units:
            yield from self._decode(unit.packet)
        yield from self._drain()

    def _wanted(self, stamps: Sequence[int]) -> dict[int, tuple[int, float]]:
        found = zip(stamps, self._wanted_places(stamps), strict=True)
        return {stamp: place for stamp, place in found if place is not None}

    def _wanted_places(self, stamps: Sequence[int]) -> list[tuple[int, float] | None]:
        """Return number and time of each frame that is wanted, None for each other."""
        return [self._next(self._video.seconds(stamp)) for stamp in stamps]

    def _next(self, seconds: float) -> tuple[int, float] | None:
        """Count a shown frame; return its number and time if it is wanted."""
        self._seconds = max(self._seconds, seconds)
        number, self._number = self._number, self._number + 1
        return (number, self._seconds) if self._wants(number, self._seconds) else None

    def _all(self, group: Group) -> Iterator[Decoded]:
        self._context.skip_frame = "DEFAULT"
        for unit in group.units:
            if unit.shows is not False and unit.stamp is not None:
                heapq.heappush(self._waiting, unit.stamp)
            yield from self._chosen(self._decode(unit.packet))
        if group.ends:
            yield from self._chosen(self._drain())
            self._waiting.clear()

    def _chosen(self, frames: Sequence[VideoFrame]) -> Iterator[Decoded]:
        for frame in frames:
            place = self._next(self._seconds_of(frame))
            if place is not None:
                yield Decoded(*place, frame)

    def _seconds_of(self, frame: VideoFrame) -> float:
        if not self._video.has_stored_times and self._waiting:
            return self._video.seconds(heapq.heappop(self._waiting))
        stamp = frame.dts if frame.pts is None else frame.pts
        if stamp is not None:
            return self._video.seconds(stamp)
        return self._number / float(self._video.stream.average_rate or 25)

    def _decode(self, packet: Packet) -> list[VideoFrame]:
        """Decode one packet. A damaged one gives no frame: the packets after it may be intact.

        Raises:
            MemoryError: there is no memory for its frame.
        """
        if self._stopped.is_set():
            return []
        try:
            return self._counted(self._video.decode(packet))
        except FFmpegError:
            self._require_memory()
            self.damaged += 1
            return []

    def _drain(self) -> list[VideoFrame]:
        """Return the frames that the decoder still holds, and reset it."""
        try:
            return self._counted(self._context.decode(None))
        except FFmpegError:
            self._require_memory()
            return []
        finally:
            self._context.flush_buffers()

    def _require_memory(self) -> None:
        """Blame no packet for a decoder that had no memory: some call it invalid data."""
        require_memory(self._context.width * self._context.height)

    def _counted(self, frames: Sequence[VideoFrame]) -> list[VideoFrame]:
        self.decoded += len(frames)
        return list(frames)

    def _note_missing(self, missing: int, damaged_before: int) -> None:
        """Count wanted frames that did not come; their packets may have been counted as damaged already."""
        if not self._stopped.is_set():
            self.damaged += max(0, missing - (self.damaged - damaged_before))
