"""One worker: what it does with signals, and with Python's garbage collector."""

import asyncio
import multiprocessing
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGINT, SIGTERM
from types import FrameType

import pytest

from service.processes.child import ARE_YOU_ALIVE, Alive
from service.processes.ending import LastResort
from service.processes.slot import WorkerSlot
from service.processes.worker import Service, SignalRelay, connection_limits
from service.settings import Settings
from tests.full_table import most_files

PROGRAM = """
import gc
import service.app
from service.runtime.host import spare_the_collector
before = len(gc.get_objects())
spare_the_collector()
print(before, len(gc.get_objects()), gc.get_freeze_count())
"""


def test_open_files_leave_some_to_others_than_connections() -> None:
    settings = Settings(threads=8)
    isolated = settings.model_copy(update={"decode": "isolated"})
    with most_files(1024):
        most = [connection_limits(one).connections for one in (settings, isolated)]
    assert most == [1024 - 128, 1024 - 128 - 12]


def test_the_collector_no_longer_walks_over_the_objects_that_stay() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, after, frozen = map(int, done.stdout.split())
    assert after < before / 100
    assert frozen > before / 2


class EndingServer:
    """A server that ends at once."""

    def run(self, listeners: list[socket.socket]) -> None:
        assert not listeners


@pytest.mark.parametrize("failed", [True, False])
def test_a_process_that_can_not_serve_any_more_ends_with_an_error(*, failed: bool) -> None:
    """Else nothing that restarts failed processes would start another one."""
    found: list[int] = []
    resort = LastResort(600, exit_process=found.append)

    Service(EndingServer(), resort, lambda: failed, found.append).run([])  # type: ignore[arg-type]

    # Where another test has left a network that does not end, the process ends with 0.
    assert (found == [1]) is failed


class Worker:
    """A server and a process that write down what happens to them."""

    def __init__(self, folder: Path, pipe: Connection) -> None:
        self.events: list[tuple[str, int]] = []
        self.relay = SignalRelay(
            pipe,
            WorkerSlot(folder, 0, 1),
            drain_seconds=0,
            exit_process=lambda code: self.events.append(("exit", code)),
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        assert frame is None
        self.events.append(("signal", sig))


@pytest.mark.parametrize("connected", [True, False])
def test_signals_go_to_the_server_and_end_a_process_that_has_none_yet(
    tmp_path: Path, *, connected: bool
) -> None:
    supervisor, pipe = multiprocessing.Pipe()
    worker = Worker(tmp_path / "service", pipe)
    if connected:
        worker.relay.connect(worker)
    supervisor.send(int(SIGTERM))
    supervisor.close()  # which also ends the relay
    worker.relay.start()
    worker.relay.join()
    assert worker.events[0] == (("signal", SIGTERM) if connected else ("exit", 0))


def test_without_its_supervisor_a_worker_removes_the_folder_and_ends_without_the_grace(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    supervisor, pipe = multiprocessing.Pipe()
    worker = Worker(folder, pipe)
    worker.relay.connect(worker)
    supervisor.close()
    worker.relay.start()
    worker.relay.join()
    assert worker.events == [("signal", SIGINT), ("exit", 1)]
    assert not folder.exists()


def test_a_process_answers_that_it_is_alive_before_it_has_a_loop(tmp_path: Path) -> None:
    supervisor, pipe = multiprocessing.Pipe()
    worker = Worker(tmp_path / "service", pipe)
    worker.relay.start()
    for _ in range(2):
        supervisor.send(ARE_YOU_ALIVE)
        assert isinstance(supervisor.recv(), Alive)
    supervisor.close()
    worker.relay.join()


@pytest.mark.anyio
async def test_while_its_loop_is_blocked_a_process_does_not_answer(tmp_path: Path) -> None:
    supervisor, pipe = multiprocessing.Pipe()
    worker = Worker(tmp_path / "service", pipe)
    worker.relay.start()
    async with worker.relay.on_loop():
        supervisor.send(ARE_YOU_ALIVE)
        assert not supervisor.poll(0.2), "this test blocks the loop"
        while not supervisor.poll():
            await asyncio.sleep(0)
        assert isinstance(supervisor.recv(), Alive)
    supervisor.send(ARE_YOU_ALIVE)
    assert isinstance(supervisor.recv(), Alive), "after the loop the thread answers again"
    supervisor.close()
    worker.relay.join()
