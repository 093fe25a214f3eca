"""Which frames come out of a file's groups, with which numbers and times, and what is decoded for them.

FFmpeg's plain decode of the whole file gives the expected pixels. A scripted decoder gives what no file gives reliably:
frames that are missing, late or without a time.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, cast

import av
import numpy as np
import pytest
from av.error import InvalidDataError

from service.video.coded import Entry
from service.video.container import OpenVideo, opened_video
from service.video.decoding import Decoded, FrameDecoder, Wants
from service.video.packets import Group, PacketReader, Unit
from tests.clips import encode_clip, ramp, stored_frames

CLOSED = {"g": "12", "keyint_min": "12", "sc_threshold": "0"}
PLAIN = {**CLOSED, "bf": "0", "refs": "1"}


def every(_: int, __: float) -> bool:
    return True


def only(*numbers: int) -> Wants:
    return lambda number, _: number in numbers


def read(
    body: bytes, wants: Wants = every, *, plan: bool = True, stopped: threading.Event | None = None
) -> tuple[list[Decoded], FrameDecoder]:
    stopped = stopped or threading.Event()
    with opened_video(BytesIO(body)) as video:
        decoder = FrameDecoder(video, PacketReader(video, stopped), wants, stopped)
        return list(decoder.frames(plan=plan)), decoder


def check(body: bytes, found: Sequence[Decoded], numbers: Sequence[int]) -> None:
    """Assert that the frames are these ones of the file: its numbers, its times at ten a second, FFmpeg's pixels."""
    plain = stored_frames(body)
    assert [one.number for one in found] == list(numbers)
    assert [one.seconds for one in found] == pytest.approx(
        [number / 10 for number in numbers], abs=1e-3
    )
    for one in found:
        pixels = one.stored.to_ndarray(format="rgb24")
        assert np.array_equal(pixels, plain[one.number][1]), one.number


FILES = [
    ("mp4", "libx264", {**CLOSED, "bf": "3"}),
    ("matroska", "libx264", PLAIN),
    ("avi", "libx264", {**CLOSED, "bf": "2"}),
    ("avi", "mpeg4", {"g": "12", "bf": "2"}),
    ("webm", "libvpx", {"g": "12"}),
    ("matroska", "mpeg2video", {"g": "12", "bf": "2"}),
    ("avi", "msmpeg4", {"g": "12"}),
]


@pytest.mark.parametrize(("form", "codec", "options"), FILES, ids=str)
@pytest.mark.parametrize("plan", [True, False])
def test_the_wanted_frames_are_those_of_a_plain_decode(
    form: str, codec: str, options: dict[str, str], *, plan: bool
) -> None:
    body = encode_clip(map(ramp, range(30)), form=form, codec=codec, options=options)
    found, decoder = read(body, plan=plan)
    check(body, found, range(30))
    assert (decoder.decoded, decoder.damaged) == (30, 0)
    found, decoder = read(body, only(0, 13, 17, 29), plan=plan)
    check(body, found, (0, 13, 17, 29))
    assert decoder.damaged == 0


# Groups of 12 frames without frames that are left out within them: those up to the wanted one are decoded.
@pytest.mark.parametrize(
    ("numbers", "decoded"),
    [((), 0), ((0,), 1), ((11,), 12), ((12,), 1), ((14,), 3), ((1, 14), 5), ((29,), 6)],
)
@pytest.mark.parametrize(("form", "codec"), [("mp4", "libx264"), ("avi", "mpeg4")])
def test_nothing_is_decoded_that_no_wanted_frame_needs(
    form: str, codec: str, numbers: tuple[int, ...], decoded: int
) -> None:
    options = PLAIN if codec == "libx264" else {"g": "12", "bf": "0"}
    body = encode_clip(map(ramp, range(30)), form=form, codec=codec, options=options)
    found, decoder = read(body, only(*numbers))
    check(body, found, numbers)
    assert (decoder.decoded, decoder.damaged) == (decoded, 0)
    found, decoder = read(body, only(*numbers), plan=False)
    check(body, found, numbers)
    assert decoder.decoded == 30, "without a plan, all are"


def test_a_codec_whose_frames_may_depend_on_any_earlier_one_is_decoded_whole() -> None:
    body = encode_clip(map(ramp, range(30)), form="avi", codec="msmpeg4", options={"g": "12"})
    found, decoder = read(body, only(20))
    check(body, found, (20,))
    assert decoder.decoded == 30


def test_a_damaged_packet_costs_its_frame_and_no_other() -> None:
    body = encode_clip(map(ramp, range(12)), form="mov", codec="mjpeg", pixel_format="yuvj420p")
    with av.open(BytesIO(body), "r") as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    broken = body.replace(packets[5], bytes(len(packets[5])))
    assert broken != body
    for plan in (True, False):
        found, decoder = read(broken, plan=plan)
        times = [round(10 * one.seconds) for one in found]
        assert times == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
        assert (decoder.decoded, decoder.damaged) == (11, 1)
    found, decoder = read(broken, only(4, 6))
    assert ([one.number for one in found], decoder.damaged) == ([4, 6], 0)


def test_a_decoder_that_is_stopped_gives_no_further_frame() -> None:
    body = encode_clip(map(ramp, range(30)), options=PLAIN)
    stopped = threading.Event()
    with opened_video(BytesIO(body)) as video:
        decoder = FrameDecoder(video, PacketReader(video, stopped), every, stopped)
        frames = decoder.frames()
        assert next(frames).number == 0
        stopped.set()
        assert len(list(frames)) < 11
        assert decoder.damaged == 0, "frames that do not come because of that are not missing"


@dataclass
class Frame:
    """A frame that a scripted decoder returns."""

    pts: int | None
    dts: int | None = None


@dataclass
class Script:
    """A decoder: what it returns for each packet and at the end of each group, in milliseconds; None: an error."""

    frames: dict[int, list[Frame] | None]
    name: str = "h264"
    at_end: list[list[Frame] | None] = field(default_factory=list)
    skip_frame: str = "unset"
    width: int = 64
    height: int = 48
    calls: list[tuple[int, str]] = field(default_factory=list)
    flushed: int = 0

    def decode(self, packet: int | None) -> list[Frame]:
        if packet is None:
            found = self.at_end.pop(0) if self.at_end else []
        else:
            self.calls.append((packet, self.skip_frame))
            found = self.frames.get(packet, [Frame(packet * 100)])
        if found is None:
            raise InvalidDataError(1, "damaged")
        return found

    def flush_buffers(self) -> None:
        self.flushed += 1


@dataclass
class Video:
    """A file of a scripted decoder; times are milliseconds."""

    decoder: Script
    codec: str = "h264"
    has_stored_times: bool = True
    average_rate: int | None = None

    @property
    def stream(self) -> "Video":
        return self

    def decode(self, packet: Any) -> list[Any]:
        return self.decoder.decode(packet)

    def seconds(self, stamp: int) -> float:
        return stamp / 1000


@dataclass
class Reader:
    given: Sequence[Group]

    def groups(self) -> Iterator[Group]:
        yield from self.given


def unit(packet: int, stamp: int | None = None, *, shows: bool | None = True) -> Unit:
    """Return a packet of a tenth of a second; `stamp` where it is shown at another time."""
    entry: Entry = "none" if packet else "closed"
    return Unit(
        cast("Any", packet),
        entry,
        shows,
        100 * packet if stamp is None else stamp,
        is_bidirectional=False,
    )


def group(*units: Unit, clean: bool = True, whole: bool = True, ends: bool = True) -> Group:
    return Group(list(units), clean=clean, whole=whole, ends=ends)


def run(
    video: Video, *groups: Group, wants: Wants = every, plan: bool = True, stop: bool = False
) -> tuple[list[tuple[int, float]], FrameDecoder]:
    stopped = threading.Event()
    if stop:
        stopped.set()
    decoder = FrameDecoder(
        cast("OpenVideo", video), cast("PacketReader", Reader(groups)), wants, stopped
    )
    return [(one.number, one.seconds) for one in decoder.frames(plan=plan)], decoder


def units(count: int) -> list[Unit]:
    return [unit(number) for number in range(count)]


def test_frames_on_which_no_other_depends_are_left_out_before_the_last_wanted_one() -> None:
    script = Script({})
    found, _ = run(Video(script), group(*units(5)), wants=only(0, 2))
    assert found == [(0, 0.0), (2, 0.2)]
    assert script.calls == [(0, "DEFAULT"), (1, "NONREF"), (2, "DEFAULT")]
    assert script.flushed == 1


def test_what_to_skip_is_not_set_where_a_library_reads_it_once() -> None:
    script = Script({}, name="libvpx")
    run(Video(script), group(*units(3)), wants=only(2))
    assert {skipped for _, skipped in script.calls} == {"unset"}


def test_a_hidden_packet_is_decoded_and_is_no_frame() -> None:
    units = [unit(0), unit(1, 100, shows=False), unit(2, 100)]
    script = Script({1: [], 2: [Frame(100)]})
    found, _ = run(Video(script), group(*units))
    assert found == [(0, 0.0), (1, 0.1)]
    assert script.calls[1] == (1, "NONREF")


def test_a_frame_that_comes_late_or_at_the_end_of_its_group_is_found_by_its_time() -> None:
    script = Script({0: [], 1: [Frame(0)], 2: []}, at_end=[[Frame(100), Frame(200), Frame(None)]])
    found, decoder = run(Video(script), group(*units(3)), wants=only(0, 2))
    assert found == [(0, 0.0), (2, 0.2)]
    assert (decoder.decoded, decoder.damaged) == (4, 0)


@pytest.mark.parametrize(
    ("frames", "damaged"),
    [({1: []}, 1), ({1: None}, 1), ({1: [], 2: []}, 2), ({1: None, 2: []}, 2), ({0: None}, 1)],
)
@pytest.mark.parametrize("has_stored_times", [True, False])
def test_a_wanted_frame_that_does_not_come_is_damage_counted_once(
    frames: dict[int, list[Frame] | None], damaged: int, *, has_stored_times: bool
) -> None:
    video = Video(Script(frames), has_stored_times=has_stored_times)
    found, decoder = run(video, group(*units(4)))
    assert len(found) == 4 - damaged
    assert decoder.damaged == damaged


def test_damage_of_earlier_groups_does_not_hide_what_is_missing() -> None:
    script = Script({0: None, 1: None, 5: []})
    _, decoder = run(Video(script), group(*units(3)), group(unit(4), unit(5), unit(6)))
    assert decoder.damaged == 3


def test_an_error_at_the_end_of_a_group_is_no_damage_of_its_own() -> None:
    script = Script({2: []}, at_end=[None])
    found, decoder = run(Video(script), group(*units(3)))
    assert found == [(0, 0.0), (1, 0.1)]
    assert (decoder.decoded, decoder.damaged, script.flushed) == (2, 1, 1)


def test_frames_without_stored_times_are_counted_in_the_order_of_the_decoder() -> None:
    # Packets 1 and 2 are shown in the other order; the decoder returns frames without a time.
    units = [unit(0), unit(1, 200), unit(2, 100), unit(3)]
    script = Script({n: [Frame(None)] for n in range(4)})
    found, decoder = run(Video(script, has_stored_times=False), group(*units), wants=only(1, 2))
    assert found == [(1, 0.1), (2, 0.2)]
    assert [packet for packet, _ in script.calls] == [0, 1, 2]
    assert {skipped for _, skipped in script.calls} == {"DEFAULT"}
    assert (decoder.decoded, decoder.damaged, script.flushed) == (3, 0, 1)


def test_the_frames_that_a_decoder_holds_are_counted_too() -> None:
    script = Script({0: [], 1: [Frame(None)], 2: [Frame(None)]}, at_end=[[Frame(None)]])
    found, _ = run(Video(script, has_stored_times=False), group(*units(3)), wants=only(2))
    assert found == [(2, 0.2)]


@pytest.mark.parametrize("has_stored_times", [True, False])
def test_a_group_without_a_wanted_frame_is_counted_and_not_decoded(
    *, has_stored_times: bool
) -> None:
    script = Script({})
    video = Video(script, has_stored_times=has_stored_times)
    found, decoder = run(video, group(*units(3)), group(unit(3), unit(4)), wants=only(4))
    assert found == [(4, 0.4)]
    assert (script.calls[0][0], decoder.damaged, script.flushed) == (3, 0, 1)


@pytest.mark.parametrize(
    ("unplanned", "codec", "plan"),
    [
        (group(*units(3), whole=False), "h264", True),
        (group(*units(3), clean=False), "h264", True),
        (group(unit(0), unit(1), unit(2, 100)), "h264", True),
        (group(unit(0), unit(1, shows=None), unit(2)), "h264", True),
        (group(*units(3)), "flv1", True),
        (group(*units(3)), "h264", False),
    ],
    ids=["part", "not clean", "equal times", "not known", "codec", "no plan"],
)
def test_without_a_plan_all_is_decoded(unplanned: Group, codec: str, *, plan: bool) -> None:
    script = Script({})
    found, decoder = run(Video(script, codec), unplanned, wants=only(1), plan=plan)
    assert found == [(1, 0.1)]
    assert script.calls == [(0, "DEFAULT"), (1, "DEFAULT"), (2, "DEFAULT")]
    assert (decoder.decoded, script.flushed) == (3, 1)


def test_times_never_fall() -> None:
    script = Script({1: [Frame(500)], 2: [Frame(200)], 3: [Frame(600)]})
    found, _ = run(Video(script, "flv1"), group(*units(4)))
    assert found == [(0, 0.0), (1, 0.5), (2, 0.5), (3, 0.6)]


def test_a_frame_without_a_time_of_display_has_that_of_decoding_or_of_the_rate() -> None:
    script = Script({n: [Frame(None, 70 * n)] for n in range(2)})
    assert run(Video(script, "flv1"), group(*units(2)))[0] == [(0, 0.0), (1, 0.07)]
    script = Script({n: [Frame(None)] for n in range(3)})
    for rate, period in ((10, 0.1), (None, 0.04)):
        video = Video(script, "flv1", average_rate=rate)
        found, _ = run(video, group(*units(3)))
        assert [seconds for _, seconds in found] == pytest.approx([0, period, 2 * period])


def test_without_stored_times_frames_take_the_times_of_packets_in_rising_order() -> None:
    units = [unit(0), unit(1, 300), unit(2, 100, shows=None), unit(3, 200, shows=False)]
    script = Script({0: [], 1: [Frame(None)], 2: [Frame(None)], 3: []}, at_end=[[Frame(None)]])
    video = Video(script, "flv1", has_stored_times=False)
    assert run(video, group(*units))[0] == [(0, 0.0), (1, 0.1), (2, 0.3)]


def test_times_that_no_frame_has_taken_are_dropped_at_the_end_of_a_group() -> None:
    script = Script({0: [], 3: [Frame(None)], 4: [Frame(None)]})
    video = Video(script, "flv1", has_stored_times=False)
    found, _ = run(video, group(unit(0)), group(unit(3), unit(4)))
    assert found == [(0, 0.3), (1, 0.4)]


def test_a_decoder_goes_on_where_a_group_does_not_end() -> None:
    script = Script({1: []}, at_end=[[Frame(100)]])
    video = Video(script, "flv1", has_stored_times=False)
    found, _ = run(video, group(unit(0), unit(1), ends=False), group(unit(2)))
    assert found == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert script.flushed == 1


def test_stopped_it_decodes_no_packet() -> None:
    for codec in ("h264", "flv1"):
        script = Script({})
        found, decoder = run(Video(script, codec), group(*units(3)), stop=True)
        assert (found, script.calls, decoder.damaged) == ([], [], 0)
