"""The supervisor over real processes that do no more than the test needs."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.processes.child import ARE_YOU_ALIVE, Alive, Loaded, Refused, Work
from service.processes.shared_memory import SharedMemory
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


def die_and_refuse_for_a_while(_: socket.socket, slot: WorkerSlot, pipe: Connection) -> None:
    """Serve; but as worker 2 die once, refuse more often than a start may fail, and serve again at last."""
    lives = slot.folder / "lives"
    if slot.index:
        with lives.open("a") as file:
            file.write("x")
        if 1 < lives.stat().st_size < QUICK.starts + 3:
            pipe.send(Refused("models/foveal.toml: line 3 is no TOML."))
            return
    pipe.send(Loaded("nothing"))
    if slot.index and lives.stat().st_size == 1:
        while not (slot.folder / "first").exists():
            time.sleep(0.01)
        os._exit(7)
    (slot.folder / "first").touch()
    if slot.index:
        os.kill(os.getppid(), signal.SIGTERM)
    while pipe.recv() == ARE_YOU_ALIVE:
        pipe.send(Alive())


def supervise(
    work: Work,
    count: int = 1,
    *,
    memory: SharedMemory | None = None,
    restarts: RestartPolicy = QUICK,
    end_seconds: float = 60,
) -> tuple[int, list[str]]:
    announced: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(
            work,
            listener,
            count,
            on_loaded=announced.append,
            memory=memory,
            restarts=restarts,
            end_seconds=end_seconds,
        )
        return supervisor.run(), announced


def test_a_worker_that_dies_at_every_start_ends_the_service_with_the_reason() -> None:
    with pytest.raises(
        ConfigurationError, match="failed to start 3 times; the last was ended by SIGKILL"
    ):
        supervise(die)


def test_a_configuration_that_a_worker_refuses_ends_the_service_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"^There is no folder nowhere\.$"):
        supervise(refuse, count=2)


def test_a_machine_without_a_temporary_folder_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(
        ConfigurationError, match=r"No such file or directory\. Let TMPDIR name one"
    ):
        supervise(refuse)


def test_files_that_a_replaced_worker_refuses_do_not_end_the_workers_that_serve() -> None:
    code, announced = supervise(die_and_refuse_for_a_while, count=2)
    assert (code, announced) == (0, ["nothing"])


def test_a_worker_that_dies_is_replaced_until_a_signal_ends_the_service() -> None:
    code, announced = supervise(die_once_loaded)
    assert code == 0
    assert announced == ["nothing"]


def test_the_pause_before_a_new_start_doubles_to_a_limit() -> None:
    policy = RestartPolicy(first_seconds=0.5, longest_seconds=30)
    assert [policy.pause_seconds(deaths) for deaths in (1, 2, 3, 7, 1000)] == [0.5, 1, 2, 30, 30]


def answer(pipe: Connection) -> None:
    """Answer whether the process is alive until a signal comes."""
    while pipe.recv() == ARE_YOU_ALIVE:
        pipe.send(Alive())


def hang_once(_: socket.socket, slot: WorkerSlot, pipe: Connection) -> None:
    """Stop as the first process, like one that hangs; as the second, end the service."""
    pipe.send(Alive())
    pipe.send(Loaded("nothing"))
    if not slot.refilled:
        os.kill(os.getpid(), signal.SIGSTOP)
    os.kill(os.getppid(), signal.SIGTERM)
    answer(pipe)


def be_silent_from_the_start(_: socket.socket, slot: WorkerSlot, pipe: Connection) -> None:
    if not slot.refilled:
        os.kill(os.getpid(), signal.SIGSTOP)
    pipe.send(Loaded("nothing"))
    os.kill(os.getppid(), signal.SIGTERM)
    answer(pipe)


def take_long_to_begin(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    """Be silent for longer than a worker may be that has begun to answer."""
    time.sleep(1.3 * IMPATIENT.silent_rounds * IMPATIENT.round_seconds)
    pipe.send(Loaded("nothing"))
    os.kill(os.getppid(), signal.SIGTERM)
    answer(pipe)


def load_alone_or_die(_: socket.socket, slot: WorkerSlot, pipe: Connection) -> None:
    """Load, as the only one of three that does; as worker 2 be killed meanwhile, once."""
    loads = slot.folder / "loads"
    loads.mkdir()  # fails where another one loads
    if slot.index == 1 and not slot.refilled:
        loads.rmdir()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    loads.rmdir()
    pipe.send(Loaded(f"worker {slot.index}, late: {slot.is_late}", 500 << 20))
    if len(loaded_so_far(slot)) == slot.count:
        os.kill(os.getppid(), signal.SIGTERM)
    answer(pipe)


def loaded_so_far(slot: WorkerSlot) -> list[Path]:
    """Note that a worker has loaded; return the notes of all."""
    (slot.folder / f"loaded-{slot.index}").touch()
    return list(slot.folder.glob("loaded-*"))


def test_workers_that_share_too_little_memory_load_one_after_the_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counts = iter(range(100))
    memory = SharedMemory(3, 900 << 20, lambda: {Path("group"): next(counts)})
    code, announced = supervise(load_alone_or_die, 3, memory=memory)
    assert code == 0
    assert len(announced) == 1
    assert announced[0].endswith("late: True")
    assert caplog.text.count("ended by SIGKILL") == 1
    assert "the memory of 900 MiB was used up" in caplog.text
    assert "too little for 3 workers: 900 MiB in all, 268 for each" in caplog.text
    assert " ended with " not in caplog.text


def be_killed_for_a_while(_: socket.socket, slot: WorkerSlot, pipe: Connection) -> None:
    """Serve; but as worker 2 be killed while it loads, more often than a start may fail, and serve at last."""
    lives = slot.folder / "lives"
    if slot.index:
        with lives.open("a") as file:
            file.write("x")
        if lives.stat().st_size < QUICK.starts + 3:
            os.kill(os.getpid(), signal.SIGKILL)
    pipe.send(Loaded("nothing"))
    if slot.index:
        os.kill(os.getppid(), signal.SIGTERM)
    answer(pipe)


def test_a_worker_that_memory_is_missing_for_does_not_end_those_that_serve() -> None:
    counts = iter(range(1000))
    memory = SharedMemory(2, 900 << 20, lambda: {Path("group"): next(counts)})
    assert supervise(be_killed_for_a_while, 2, memory=memory) == (0, ["nothing"])


def test_a_service_that_ends_starts_none_of_those_that_wait_for_their_turn() -> None:
    with pytest.raises(ConfigurationError, match=r"^There is no folder nowhere\.$"):
        supervise(refuse, 3, memory=SharedMemory(3, 900 << 20, dict))


def ignore_the_signal(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    pipe.send(Loaded("nothing"))
    os.kill(os.getppid(), signal.SIGTERM)
    while True:
        if pipe.recv() == ARE_YOU_ALIVE:
            pipe.send(Alive())


def stop_and_let_the_service_end(_: socket.socket, __: WorkerSlot, pipe: Connection) -> None:
    """Stop before anything is loaded; the service ends once this process has been stopped."""
    watcher = f"""
import os, pathlib, signal, time
while "State:\\tT" not in pathlib.Path("/proc/{os.getpid()}/status").read_text():
    time.sleep(0.01)
os.kill({os.getppid()}, signal.SIGTERM)
"""
    subprocess.Popen([sys.executable, "-c", watcher])
    os.kill(os.getpid(), signal.SIGSTOP)
    answer(pipe)


IMPATIENT = RestartPolicy(first_seconds=0.01, round_seconds=0.1, silent_rounds=20, first_rounds=400)


@pytest.mark.parametrize("work", [hang_once, be_silent_from_the_start])
def test_a_worker_that_hangs_is_killed_and_replaced(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    rules = IMPATIENT if work is hang_once else replace(IMPATIENT, first_rounds=40)
    code, announced = supervise(work, restarts=rules)
    assert (code, announced) == (0, ["nothing"])
    assert "did not answer for" in caplog.text
    assert "the kernel" not in caplog.text, "it was not the kernel that killed it"


def test_a_worker_may_take_longer_before_its_first_answer(caplog: pytest.LogCaptureFixture) -> None:
    code, _ = supervise(take_long_to_begin, restarts=IMPATIENT)
    assert code == 0
    assert "did not answer" not in caplog.text


def test_a_worker_that_was_stopped_while_it_loads_ends_with_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    code, announced = supervise(stop_and_let_the_service_end, restarts=RestartPolicy())
    assert (code, announced) == (0, [])
    assert "was killed" not in caplog.text


def test_a_worker_that_does_not_end_is_killed_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    code, _ = supervise(ignore_the_signal, end_seconds=0.3)
    assert code == 1
    assert "did not end and was killed" in caplog.text
