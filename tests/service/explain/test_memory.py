"""Explanations take their memory from the room for large images."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from service.errors import DeadlineError, OverloadedError, UnavailableError
from service.explain.memory import LOAD_TIMES, RUN_TIMES, ExplanationMemory
from service.imaging.room import TIGHT_BYTES_PER_PIXEL, PixelRoom
from service.runtime.job import Outputs, Stoppable, Tensor

PIXELS = 20_000_000
ROOM_BYTES = PIXELS * TIGHT_BYTES_PER_PIXEL
IMAGE = np.zeros((1, 2, 2, 3), np.uint8)


def short(seconds: float = 10.0) -> tuple[PixelRoom, ExplanationMemory]:
    """Return a room where memory is short, and the memory of explanations in it."""
    room = PixelRoom(PIXELS)
    room.fit(PIXELS, PIXELS)
    return room, ExplanationMemory(room, seconds)


class Network:
    def __init__(self, room: PixelRoom) -> None:
        self.held: list[int] = []
        self.stopped: list[int] = []
        self._room = room

    def __call__(self, batch: Tensor) -> Outputs:
        self.held.append(self._room.in_work)
        return {"echo": batch}

    def stop(self, thread: int) -> None:
        self.stopped.append(thread)


def test_a_run_holds_room_while_it_runs_and_can_be_stopped() -> None:
    room, memory = short()
    network = Network(room)
    run = memory.bounded(network, 100 << 20)
    assert run(IMAGE)["echo"] is IMAGE
    assert network.held == [int((100 << 20) * RUN_TIMES) // TIGHT_BYTES_PER_PIXEL]
    assert room.is_idle
    assert isinstance(run, Stoppable)
    run.stop(7)
    assert network.stopped == [7]


@contextmanager
def taken(room: PixelRoom) -> Iterator[threading.Thread]:
    """Hold all of a room while the block runs."""
    with room.hold(PIXELS, float("inf")):
        yield threading.current_thread()


def test_a_run_waits_for_a_large_image_but_not_for_ever() -> None:
    room, memory = short(seconds=0.05)
    run = memory.bounded(Network(room), 100 << 20)
    with taken(room), pytest.raises(DeadlineError):
        run(IMAGE)
    run(IMAGE)


def test_loading_holds_what_it_takes() -> None:
    room, memory = short()
    with memory.loading(50 << 20):
        assert room.in_work == (50 << 20) * LOAD_TIMES // TIGHT_BYTES_PER_PIXEL
    assert room.is_idle


def test_a_network_that_never_fits_is_refused_in_words() -> None:
    room, memory = short()
    memory.require("small", 1 << 20, int(ROOM_BYTES / RUN_TIMES) - 1000)
    for file_bytes, run_bytes in ((1 << 20, ROOM_BYTES), (ROOM_BYTES, 1 << 20)):
        with pytest.raises(
            UnavailableError, match=r"Explaining large takes about .* room for 343"
        ) as raised:
            memory.require("large", file_bytes, run_bytes)
        assert raised.value.retry_after_seconds is None
    room.fit(PIXELS, None)
    memory.require("large", ROOM_BYTES, ROOM_BYTES)


def test_a_run_does_not_wait_for_videos_but_loading_does() -> None:
    room, memory = short(seconds=0.01)
    run = memory.bounded(Network(room), int(ROOM_BYTES * 0.6 / RUN_TIMES))
    room.lend(PIXELS // 2)
    with pytest.raises(OverloadedError, match="Videos hold"):
        run(IMAGE)
    with pytest.raises(DeadlineError), memory.loading(int(ROOM_BYTES * 0.6 / LOAD_TIMES)):
        pass
    room.lend(0)
    assert run(IMAGE)["echo"] is IMAGE
