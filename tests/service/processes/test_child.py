"""A worker process as the supervisor sees it: real processes that do no more than each test needs."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from service.processes.child import ARE_YOU_ALIVE, SIGNALS, Alive, Child, Loaded, Refused, Work
from service.processes.slot import WorkerSlot

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def answer(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    """Load, then answer each question; end with a signal's number as the code."""
    pipe.send(Loaded("two models"))
    while not (number := pipe.recv()):
        pipe.send(Alive())
    os._exit(number)


def say_nothing(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    pipe.send(Loaded("deaf"))
    signal.pause()


def refuse(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    pipe.send(Refused("There is no folder nowhere."))


def name_signals(listener: socket.socket, slot: WorkerSlot, pipe: Connection) -> None:
    blocked = sorted(int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    pipe.send(Loaded(f"{blocked} {listener.getsockname()[1]} {slot.name}"))


def kill_itself(_: socket.socket, __: WorkerSlot, ___: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def close_its_pipe(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    pipe.send(Loaded("then closed"))
    pipe.close()
    signal.pause()


class Loadings:
    """What children have loaded, as it is reported."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self.changed = asyncio.Event()

    def add(self, slot: WorkerSlot, loaded: Loaded) -> None:
        self.all.append((slot.name, loaded.summary))
        self.changed.set()


@asynccontextmanager
async def child_of(work: Work) -> AsyncIterator[tuple[Child, Loadings, int]]:
    loadings = Loadings()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = Child(work, listener, WorkerSlot(Path("/run"), 1, 3), loadings.add)
        try:
            yield child, loadings, listener.getsockname()[1]
        finally:
            child.kill("by the test")
            await asyncio.wait_for(child.ended, 30)


async def answered(child: Child) -> None:
    """Wait until the child owes no answer: every further round would say that it does."""
    while not child.has_answered:
        await asyncio.sleep(0.001)


async def test_a_child_reports_what_it_loaded_and_how_it_ended() -> None:
    async with child_of(answer) as (child, loadings, _):
        assert child.served_seconds() == 0
        before = time.monotonic()
        await loadings.changed.wait()
        assert loadings.all == [("worker 2", "two models")]
        assert child.loaded_at is not None
        assert before <= child.loaded_at <= time.monotonic()
        assert 0 <= child.served_seconds() <= time.monotonic() - before
        child.relay(7)
        assert await child.ended == 7
        assert (child.end, child.refused) == ("", "")


async def test_a_child_that_answers_owes_nothing_and_one_that_does_not_owes_each_round() -> None:
    async with child_of(answer) as (child, loadings, _):
        await loadings.changed.wait()
        assert not child.has_answered
        assert child.ask() == 0
        await answered(child)
        assert child.ask() == 0, "it was asked anew"
    async with child_of(say_nothing) as (child, loadings, _):
        await loadings.changed.wait()
        assert [child.ask() for _ in range(4)] == [0, 1, 2, 3]
        assert not child.has_answered


async def test_a_child_that_refuses_its_settings_says_why() -> None:
    async with child_of(refuse) as (child, loadings, _):
        assert await child.ended == 0
        assert child.refused == "There is no folder nowhere."
        assert loadings.all == []
        assert child.loaded_at is None


async def test_the_last_message_of_a_child_is_handled_before_its_end() -> None:
    async with child_of(name_signals) as (child, loadings, port):
        assert await child.ended == 0
        blocked = sorted(int(one) for one in SIGNALS)
        assert loadings.all == [("worker 2", f"{blocked} {port} worker 2")]


async def test_signals_are_blocked_only_while_a_child_starts() -> None:
    former = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    async with child_of(refuse) as (child, _, _):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == former
        await child.ended
    assert set(SIGNALS) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    assert ARE_YOU_ALIVE not in {int(one) for one in signal.Signals}


async def test_a_child_that_dies_has_the_number_of_its_signal() -> None:
    async with child_of(kill_itself) as (child, _, _):
        assert await child.ended == -signal.SIGKILL
        assert child.end == "", "nobody here killed it"


async def test_a_child_that_is_killed_keeps_the_first_reason_of_its_end() -> None:
    async with child_of(say_nothing) as (child, loadings, _):
        await loadings.changed.wait()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
        child.kill("did not answer")
        assert await child.ended == -signal.SIGKILL
        child.kill("too late")
        assert child.end == "did not answer"


async def test_a_message_to_a_dead_child_is_lost_without_an_error() -> None:
    async with child_of(kill_itself) as (child, _, _):
        await child.ended
        child.relay(signal.SIGTERM)
        assert child.ask() == 0


async def test_a_child_that_closes_its_pipe_lives_on() -> None:
    async with child_of(close_its_pipe) as (child, loadings, _):
        await loadings.changed.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not child.ended.done()
        child.kill("closed")
        assert await child.ended == -signal.SIGKILL
