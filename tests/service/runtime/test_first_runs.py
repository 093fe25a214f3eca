"""The first runs of a network: what went wrong is said, and what does not end is stopped on its own thread."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.errors import DeviceError, ServableError
from service.runtime.first_runs import first_runs
from service.runtime.job import Stoppable

PATH = Path("models/colors/1/model.onnx")


@dataclass
class Endless:
    """A run that ends only when it is stopped, and ignores the first `deaf` attempts."""

    deaf: int = 0
    threads: list[int] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self, thread: int) -> None:
        self.threads.append(thread)
        if len(self.threads) > self.deaf:
            self.stopped.set()

    def __call__(self) -> None:
        assert self.stopped.wait(10)
        raise RuntimeError("Exiting due to terminate flag being set to true.")


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "foveal-first-runs"}


def test_runs_that_end_are_left_alone() -> None:
    run = Endless()
    before = watchers()
    with first_runs(PATH, [run], 60):
        (watcher,) = watchers() - before
        assert watcher.daemon
    watcher.join(10)
    assert not watcher.is_alive()
    assert run.threads == []


def run_in_block(error: Exception, seconds: float | None = 60) -> None:
    with first_runs(PATH, [], seconds):
        raise error


def test_an_error_names_the_file_and_the_reason() -> None:
    with pytest.raises(ServableError) as caught:
        run_in_block(
            RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : idx=9 is out of\nbounds")
        )
    assert str(caught.value) == f"{PATH}: its first run failed: idx=9 is out of bounds."
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_error_of_ours_is_passed_on() -> None:
    error = DeviceError("no such device")
    with pytest.raises(DeviceError) as caught:
        run_in_block(error)
    assert caught.value is error


def test_a_run_that_does_not_end_is_stopped_on_its_thread_and_named() -> None:
    run = Endless()

    def block() -> None:
        with first_runs(PATH, [run], 0.05):
            run()

    with pytest.raises(ServableError) as caught:
        block()
    assert str(caught.value) == f"{PATH}: its first run did not end within 0.05 s."
    assert set(run.threads) == {threading.get_ident()}


def test_a_run_that_had_not_begun_is_stopped_again() -> None:
    run = Endless(deaf=1)

    def block() -> None:
        with first_runs(PATH, [run], 0.01):
            run()

    with pytest.raises(ServableError, match=r"did not end within 0\.01 s"):
        block()
    assert len(run.threads) == 2


def test_runs_that_are_added_inside_the_block_are_stopped_too() -> None:
    runs: list[Stoppable] = []
    late = Endless()

    def block() -> None:
        with first_runs(PATH, runs, 0.05):
            runs.append(late)
            late()

    with pytest.raises(ServableError, match="did not end"):
        block()
    assert late.threads


def test_without_a_limit_nothing_is_stopped() -> None:
    with pytest.raises(ServableError, match="its first run failed: slow"):
        run_in_block(RuntimeError("slow"), None)


def test_the_watcher_ends_with_the_block_also_where_that_fails() -> None:
    with pytest.raises(ServableError):
        run_in_block(RuntimeError("failed"))
    for watcher in watchers():
        watcher.join(10)
    assert watchers() == set()
