"""An opened file → its packets in groups that can be decoded alone, each packet with what is known without decoding."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, cast

from av.error import FFmpegError
from av.packet import Packet as AnyPacket

from service.imaging.shortage import require_memory
from service.video.bitstream import describer, describes_every_packet
from service.video.coded import Coded, Entry
from service.video.container import OpenVideo, Packet, is_cover

LONGEST_GROUP = 600
"""The most packets from one key frame to the next that are collected; a longer group is decoded without a plan."""

GROUPED_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg", "prores"}
)
"""Codecs in which no frame depends on one before a key frame: packets that no wanted frame needs can be skipped."""

COUNTED_CODECS = GROUPED_CODECS | {
    "png", "qtrle", "rawvideo", "msrle", "ffv1", "huffyuv", "dnxhd", "dvvideo",
    "jpeg2000", "h263", "flv1", "mpeg1video", "cinepak",
}  # fmt: skip
"""Codecs in which each packet shows one frame, but for those whose bits say otherwise."""

_PROGRESSIVE = 1
"""The highest field order of FFmpeg that means whole frames; 0 is unknown."""


class Unit(NamedTuple):
    """A packet, and what is known of the frame in it."""

    packet: Packet
    entry: Entry
    shows: bool | None
    """Whether it shows one frame, None where only decoding can say it."""
    stamp: int | None
    """When it is shown, in the stream's units. In an AVI, frames take their packets' times in the order of display."""
    is_bidirectional: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Units in decoding order."""

    units: list[Unit]
    clean: bool
    """Whether the decoder has everything that they depend on."""
    whole: bool
    """Whether they are all units from one key frame to the next."""
    ends: bool
    """Whether a key frame, or the end, follows."""

    def stamps(self) -> list[int] | None:
        """Return when the group's frames are shown, in order; None where only decoding can say it."""
        stamps = []
        for unit in self.units:
            if unit.shows is None or (unit.shows and unit.stamp is None):
                return None
            if unit.shows and unit.stamp is not None:
                stamps.append(unit.stamp)
        return sorted(stamps) if self.clean else None


class PacketReader:
    """Reads a file once. `stopped` ends it before its next packet."""

    def __init__(self, video: OpenVideo, stopped: threading.Event) -> None:
        self.packets = 0
        """Packets of the stream so far, the damaged ones too."""
        self.shown = 0
        """Packets so far that show a frame, as far as their bits say it."""
        self.damaged = 0
        self.end_seconds = 0.0
        """The end of the latest packet of any stream."""
        self.failure = ""
        """Why the file can not be read further; empty where it can."""
        self._video = video
        self._stopped = stopped
        context = video.stream.codec_context
        self._describe = describer(video.codec, context.extradata)
        self._is_grouped = video.codec in GROUPED_CODECS
        self._describes_all = describes_every_packet(video.codec)
        # One packet may be a frame or only one of its two fields.
        self._is_countable = video.codec in COUNTED_CODECS and not (
            video.codec == "h264" and context.field_order > _PROGRESSIVE
        )

    def groups(self) -> Iterator[Group]:
        """Yield the units in groups that can be decoded alone.

        A group ends before a key frame, unless the packet after that is shown before the key frame: it may depend on
        frames before both. If the file begins so, that packet can not be decoded, and the group is not clean.
        """
        group: list[Unit] = []
        key: Unit | None = None
        clean = whole = begun = False
        for unit in self._units():
            if key is not None:
                if begun and self._leads(unit, key):
                    group.append(key)
                else:
                    if group:
                        yield Group(group, clean=clean, whole=whole, ends=True)
                    clean = whole = not self._leads(unit, key)
                    group, begun = [key], True
                key = None
            if unit.entry != "none":
                key = unit
                continue
            group.append(unit)
            begun = True
            if len(group) >= LONGEST_GROUP:
                yield Group(group, clean=clean, whole=False, ends=False)
                group, whole = [], False
        if key is not None:
            if group:
                yield Group(group, clean=clean, whole=whole, ends=True)
            group, clean, whole = [key], True, True
        if group or not whole:
            yield Group(group, clean=clean, whole=whole, ends=True)

    def _leads(self, unit: Unit, key: Unit) -> bool:
        """Return whether a unit that follows a key frame may be shown before it, and depend on what came before."""
        if key.entry == "closed":
            return False
        if unit.is_bidirectional:
            return True
        if self._video.codec not in {"h264", "hevc"}:
            return False
        if unit.stamp is None or key.stamp is None or not self._video.has_stored_times:
            return True
        return unit.stamp < key.stamp

    def _units(self) -> Iterator[Unit]:
        for packet in self._read():
            coded = self._coded(packet)
            shows = coded.shows if self._is_countable else None
            if packet.is_discard:
                shows = False
            self.shown += shows is not False
            stamp = self._stamp(packet)
            yield Unit(packet, coded.entry, shows, stamp, coded.is_bidirectional)

    def _stamp(self, packet: Packet) -> int | None:
        if self._video.has_stored_times:
            return packet.pts
        if packet.dts is None:
            return None
        return self._video.shown_periods.get(packet.dts, packet.dts)

    def _coded(self, packet: Packet) -> Coded:
        if not self._is_grouped:
            # Containers mark every packet of some of these codecs as a key frame.
            return Coded("closed" if self.packets == 1 else "none")
        if not packet.is_keyframe and not self._describes_all:
            return Coded("none")
        coded = self._describe(bytes(packet))
        if not packet.is_keyframe or not self._is_alpha_key(packet):
            return coded._replace(entry="none")
        return coded

    def _is_alpha_key(self, packet: Packet) -> bool:
        """Return whether decoding can begin at the alpha beside a packet too; true where there is none."""
        if not self._video.has_alpha_beside:
            return True
        if not packet.has_sidedata("matroska_block_additional"):
            return False
        beside = bytes(packet.get_sidedata("matroska_block_additional"))
        # Eight bytes of the kind of addition come first.
        return self._describe(beside[8:]).entry == "closed"

    def _read(self) -> Iterator[Packet]:
        """Yield the stream's packets; of the other streams', only the times are noted."""
        index = self._video.stream.index
        try:
            for packet in self._video.container.demux():
                if self._stopped.is_set():
                    return
                self._note_end(packet)
                if packet.stream_index != index:
                    continue
                if packet.size == 0:
                    continue
                self.packets += 1
                self.damaged += packet.is_corrupt
                if not packet.is_corrupt:
                    yield cast("Packet", packet)
        except FFmpegError as error:
            require_memory()
            self.failure = error.strerror or str(error)

    def _note_end(self, packet: "AnyPacket[Any]") -> None:
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or is_cover(packet.stream):
            return
        base = packet.time_base or Fraction(1, 1000)
        self.end_seconds = max(self.end_seconds, float((stamp + (packet.duration or 0)) * base))
