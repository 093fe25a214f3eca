"""A file's packets, in groups from one key frame to the next."""

import threading
from io import BytesIO
from itertools import chain

import av

from service.video.container import opened_video
from service.video.packets import Group, PacketReader
from tests.clips import encode_clip, ramp

CLOSED = {"g": "12", "keyint_min": "12", "bf": "3", "sc_threshold": "0"}


def groups_of(body: bytes) -> tuple[list[Group], PacketReader]:
    with opened_video(BytesIO(body)) as video:
        reader = PacketReader(video, threading.Event())
        return list(reader.groups()), reader


def test_a_closed_group_has_all_packets_from_one_key_frame_to_the_next() -> None:
    body = encode_clip(map(ramp, range(30)), options=CLOSED)
    groups, reader = groups_of(body)
    assert [len(group.units) for group in groups] == [12, 12, 6]
    assert all(group.clean and group.whole and group.ends for group in groups)
    assert (reader.packets, reader.shown, reader.damaged, reader.failure) == (30, 30, 0, "")
    assert round(reader.end_seconds, 3) == 3.0  # 30 frames at 10 a second


def test_the_times_of_a_group_are_those_of_its_decoded_frames() -> None:
    body = encode_clip(map(ramp, range(30)), options=CLOSED)
    groups, _ = groups_of(body)
    with av.open(BytesIO(body), "r") as container:
        decoded = [frame.pts for frame in container.decode(video=0)]
    assert list(chain.from_iterable(group.stamps() or () for group in groups)) == decoded


def test_a_reader_that_is_stopped_gives_nothing_more() -> None:
    stopped = threading.Event()
    stopped.set()
    with opened_video(BytesIO(encode_clip(map(ramp, range(12)), options=CLOSED))) as video:
        reader = PacketReader(video, stopped)
        assert [unit for group in reader.groups() for unit in group.units] == []
        assert reader.packets == 0
