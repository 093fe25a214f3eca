"""The runs that warm and measure a network: they may fail in any way, or never end."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.bounded_thread import BoundedThread
from service.errors import FovealError, ServableError
from service.runtime.faults import reason_of
from service.runtime.job import Stoppable

FIRST_RUNS_SECONDS = 120.0
_AGAIN_SECONDS = 1.0
"""Between two attempts to stop: a run that had not begun yet is not stopped."""


@contextmanager
def first_runs(
    path: Path, runs: Sequence[Stoppable], seconds: float | None = FIRST_RUNS_SECONDS
) -> Iterator[None]:
    """Let this thread run a network for the first time inside the block, and say what went wrong.

    Args:
        path: the servable, for messages.
        runs: what may run; may grow inside the block.
        seconds: how long the block may take before its runs are stopped; None: for ever.

    Raises:
        ServableError: a run failed, or did not end in time.
        RuntimeError: the system gives no thread to stop them.
    """
    thread, over, late = threading.get_ident(), threading.Event(), threading.Event()

    def stop() -> None:
        if over.wait(seconds):
            return
        late.set()
        while not over.is_set():
            for run in tuple(runs):
                run.stop(thread)
            over.wait(_AGAIN_SECONDS)

    BoundedThread(stop, "foveal-first-runs").start_and_wait()
    try:
        yield
    except FovealError:
        raise
    except Exception as error:  # ONNX Runtime raises untyped errors
        reason = f"did not end within {seconds:g} s" if late.is_set() else "failed"
        detail = "" if late.is_set() else f": {reason_of(error)}"
        raise ServableError(f"{path}: its first run {reason}{detail}.") from error
    finally:
        over.set()
