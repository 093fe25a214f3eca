"""The supervisor over real processes that do no more than the test needs."""

import os
import signal
import socket
from multiprocessing.connection import Connection

import pytest

from service.errors import ConfigurationError
from service.processes.child import Loaded, Refused, Work
from service.processes.slot import WorkerSlot
from service.processes.supervisor import RestartPolicy, Supervisor

QUICK = RestartPolicy(first_seconds=0.01, starts=3)


def die(_: socket.socket, __: WorkerSlot, ___: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    pipe.send(Refused("There is no folder nowhere."))


def die_once_loaded(_: socket.socket, slot: WorkerSlot, pipe: Connection) -> None:
    """Load and die as one of the first two processes; as the third, end the whole service as an operator would."""
    lives = slot.folder / "lives"
    with lives.open("a") as file:
        file.write("x")
    pipe.send(Loaded("nothing"))
    if lives.stat().st_size < 3:
        os._exit(7)
    os.kill(os.getppid(), signal.SIGTERM)
    pipe.recv()


def supervise(work: Work, count: int = 1) -> tuple[int, list[str]]:
    announced: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(work, listener, count, on_loaded=announced.append, restarts=QUICK)
        return supervisor.run(), announced


def test_a_worker_that_dies_at_every_start_ends_the_service_with_the_reason() -> None:
    with pytest.raises(
        ConfigurationError, match="failed to start 3 times; the last was ended by SIGKILL"
    ):
        supervise(die)


def test_a_configuration_that_a_worker_refuses_ends_the_service_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"^There is no folder nowhere\.$"):
        supervise(refuse, count=2)


def test_a_worker_that_dies_is_replaced_until_a_signal_ends_the_service() -> None:
    code, announced = supervise(die_once_loaded)
    assert code == 0
    assert announced == ["nothing"]


def test_the_pause_before_a_new_start_doubles_to_a_limit() -> None:
    policy = RestartPolicy(first_seconds=0.5, longest_seconds=30)
    assert [policy.pause_seconds(deaths) for deaths in (1, 2, 3, 7, 1000)] == [0.5, 1, 2, 30, 30]
