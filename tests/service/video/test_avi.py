"""When the frames of an AVI are shown, by its index; the expected periods are those of the encoder or of `ffmpeg`."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import pytest
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from service.video.avi import (
    has_gaps,
    periods_of_packets,
    reorder_delay,
    shown_periods,
)
from service.video.bitstream import Describe
from service.video.coded import Coded
from tests.clips import ramp


def riff(kind: bytes, *parts: bytes, form: bytes = b"") -> bytes:
    """Return a chunk or a list: kind, size, content, padded to whole words (Microsoft RIFF, 1991)."""
    content = form + b"".join(parts)
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def avi_of(sizes: Sequence[int], *, has_index: bool = True) -> bytes:
    """Return an AVI 1.0 of MJPEG, ten periods a second, with a chunk of so many bytes in each period."""
    count = len(sizes)
    main = struct.pack("<14I", 100_000, 0, 0, 16 * has_index, count, 0, 1, 0, 16, 16, 0, 0, 0, 0)
    head = b"vidsMJPG" + struct.pack(
        "<IHH6IiI4H", 0, 0, 0, 0, 1, 10, 0, count, 0, -1, 0, 0, 0, 16, 16
    )
    form = struct.pack("<IiiHH4sIiiII", 40, 16, 16, 1, 24, b"MJPG", 768, 0, 0, 0, 0)
    stream = riff(b"LIST", riff(b"strh", head), riff(b"strf", form), form=b"strl")
    chunks, index, at = b"", b"", 4
    for size in sizes:
        index += struct.pack("<4sIII", b"00dc", 16, at, size)
        chunk = riff(b"00dc", bytes(size))
        chunks, at = chunks + chunk, at + len(chunk)
    header = riff(b"LIST", riff(b"avih", main), stream, form=b"hdrl")
    body = header + riff(b"LIST", chunks, form=b"movi") + riff(b"idx1", index) * has_index
    return riff(b"RIFF", body, form=b"AVI ")


@pytest.mark.parametrize(
    ("sizes", "periods"),
    [
        ([10, 10, 10], [0, 1, 2]),
        ([10, 0, 0, 10, 0, 10], [0, 3, 5]),
        ([1, 0, 1], [0, 2]),
    ],
)
def test_the_periods_are_those_of_the_index_that_hold_bytes(
    sizes: list[int], periods: list[int]
) -> None:
    with av.open(BytesIO(avi_of(sizes))) as container:
        assert periods_of_packets(container.streams.video[0]) == periods


def test_without_an_index_the_periods_are_those_that_ffmpeg_finds() -> None:
    with av.open(BytesIO(avi_of([10, 10], has_index=False))) as container:
        assert periods_of_packets(container.streams.video[0]) == [0, 1]


@pytest.mark.parametrize(
    ("periods", "gaps"),
    [([], False), ([7], False), ([0, 1, 2], False), ([5, 6, 7], False), ([0, 1, 3], True), ([0, 2], True)],
)  # fmt: skip
def test_a_gap_is_a_period_without_a_packet_between_two_others(
    periods: list[int], *, gaps: bool
) -> None:
    assert has_gaps(periods) is gaps
    assert has_gaps(iter(periods)) is gaps


def coded(codec: str, **options: str) -> tuple[list["Packet[VideoStream]"], VideoCodecContext]:
    """Return the packets of a stream in decoding order, and a decoder for them."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.options = Fraction(1, 10), Fraction(10), options
    packets = []
    for number in range(24):
        frame = av.VideoFrame.from_ndarray(ramp(number), format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(encoder.codec.canonical_name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    return packets, decoder


MOST_REORDERED = 16 + 1
"""ITU-T H.264, A.3.1, and H.265, A.4.2: at most 16 frames are held back. The 17th packet after the first gives one."""


def describe_all(*, is_bidirectional: bool) -> Describe:
    return lambda _: Coded("none", is_bidirectional=is_bidirectional)


def returned_after(codec: str, **options: str) -> int:
    """Return after how many packets FFmpeg's decoder returns its first frame."""
    packets, decoder = coded(codec, **options)
    return next(number for number, packet in enumerate(packets) if decoder.decode(packet))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg4", {"bf": "1"}),
        ("mpeg4", {"bf": "3"}),
        ("libx264", {"bf": "1", "b_strategy": "0"}),
        ("libx264", {"bf": "3", "b_strategy": "0", "x264-params": "b-pyramid=normal"}),
    ],
    ids=str,
)
def test_the_delay_is_how_late_the_decoder_returns_the_first_frame(
    codec: str, options: dict[str, str]
) -> None:
    packets, decoder = coded(codec, **options)
    late = returned_after(codec, **options)
    assert late > 0
    assert reorder_delay(packets, decoder, None) == late
    packets, decoder = coded(codec, **options)
    assert reorder_delay(packets, decoder, describe_all(is_bidirectional=True)) == late


def test_a_decoder_that_returns_each_frame_at_once_has_no_delay() -> None:
    packets, decoder = coded("mpeg4", bf="0")
    assert returned_after("mpeg4", bf="0") == 0
    assert reorder_delay(packets, decoder, None) == 0


def test_a_decoder_that_waits_where_no_packet_is_bidirectional_has_no_delay() -> None:
    packets, decoder = coded("mpeg2video", bf="0")
    assert returned_after("mpeg2video", bf="0") == 1, "it waits for a packet more than it needs"
    assert reorder_delay(packets, decoder, describe_all(is_bidirectional=False)) == 0


def test_a_packet_after_the_first_frame_may_be_the_bidirectional_one() -> None:
    packets, decoder = coded("mpeg4", bf="1")
    late = returned_after("mpeg4", bf="1")
    seen = 0

    def describe(_: bytes) -> Coded:
        nonlocal seen
        seen += 1
        return Coded("none", is_bidirectional=seen == 5)

    assert reorder_delay(packets, decoder, describe) == late
    assert seen == 5, "no packet before the first frame is described, and none after the answer"


@pytest.mark.parametrize(
    ("before", "delay"), [(MOST_REORDERED, MOST_REORDERED), (MOST_REORDERED + 1, 0)]
)
def test_no_more_packets_are_decoded_than_a_codec_can_reorder(before: int, delay: int) -> None:
    packets, decoder = coded("mpeg4", bf="0")
    layer = bytes(packets[0]).split(b"\0\0\1\xb6")[0]
    # A frame of ISO/IEC 14496-2, 6.2.5, that is not coded: P, no second, 0/10, of which four bits are the time.
    gap: Any = av.Packet(layer + b"\0\0\1\xb6" + bytes([0b01010000, 0b10111111]))
    given = iter([gap] * before + packets)
    assert reorder_delay(given, decoder, None) == delay
    left = before + len(packets) - (MOST_REORDERED + 1)
    assert len(list(given)) == left, "no packet is read after the answer is known"


def test_a_file_without_a_frame_has_no_delay() -> None:
    _, decoder = coded("mpeg4")
    assert reorder_delay([], decoder, None) == 0


@pytest.mark.parametrize(
    ("periods", "delay", "shown"),
    [
        # The decoder returns a frame with each packet, from the second on: at 3, 4 and after the end at 5.
        ([0, 3, 4], 1, {0: 0, 3: 1, 4: 2}),
        ([2, 3, 7, 8], 2, {2: 2, 3: 3, 7: 4, 8: 5}),
        ([0, 2, 4], 2, {0: 0, 2: 1, 4: 2}),
        ([0, 2, 4], 3, {}),
        ([0, 2, 4], 0, {}),
        ([0, 2, 4], -1, {}),
        ([], 1, {}),
    ],
)
def test_the_nth_frame_is_shown_when_the_decoder_returns_it_less_the_first_delay(
    periods: list[int], delay: int, shown: dict[int, int]
) -> None:
    assert shown_periods(periods, delay) == shown
