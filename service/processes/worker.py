"""One process of the service: the only one, or one of several that a supervisor started."""

import gc
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from signal import SIGINT

from service.app import create_app
from service.engine import Engine
from service.errors import ConfigurationError
from service.logs import configure_logs
from service.processes.peers import Peers, Tally, WorkerSlot
from service.processes.server import Server
from service.processes.supervisor import Loaded, Refused
from service.settings import Settings

YOUNG_OBJECTS = 10_000
"""Objects made and not freed before the collector looks. With 16 requests in flight that came up not once in 38,400."""


def make_server(
    settings: Settings, on_loaded: Callable[[Engine], None], slot: WorkerSlot | None = None
) -> Server:
    """Return the whole service of one process.

    Raises:
        ConfigurationError: it can not start as asked.
    """

    def loaded(engine: Engine) -> None:
        spare_the_collector()
        on_loaded(engine)

    engine = Engine(settings, share=int if slot is None else slot.share, on_loaded=loaded)
    peers = None
    if slot is not None:
        engine.metrics.worker_restarts.inc(slot.refilled)
        peers = Peers(slot, engine.metrics.registry, engine.not_ready)

    return Server(
        create_app(engine, settings, peers=peers),
        grace_seconds=settings.grace_seconds,
        drain_seconds=_drain_seconds(settings),
        tally=None if slot is None else Tally(slot),
    )


def spare_the_collector() -> None:
    """Let Python's garbage collector forget what is there to stay, and look for cycles less often.

    Nearly everything that a request makes is freed by reference counts. Every few thousand requests a full collection
    held the interpreter for 28 ms; without what was loaded it takes 0.1 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def summary(engine: Engine) -> str:
    """Return what is served, and on what."""
    ready = [model.name for model in engine.registry.models if model.state == "ready"]
    device = engine.registry.device
    models = ", ".join(dict.fromkeys(ready)) or "no model"
    return f"{models} on {device.name} ({device.detail})"


def work(settings: Settings, listener: socket.socket, slot: WorkerSlot, line: Connection) -> None:
    """Serve until the supervisor orders the end, or is gone; the main function of a supervised process.

    Signals are blocked here, see `Supervisor`: orders come over the line.
    """
    relay = SignalRelay(line, slot, patience_seconds=2 * _drain_seconds(settings))
    relay.start()
    configure_logs(settings.log_level, settings.log_format, sys.stdout)
    try:
        server = make_server(settings, lambda engine: line.send(Loaded(summary(engine))), slot)
    except ConfigurationError as error:
        line.send(Refused(str(error)))
        sys.exit(2)
    relay.take(server)
    server.run([listener])


class SignalRelay(threading.Thread):
    """Obeys the signals whose numbers come over the line, and ends the process when nobody is left at its other end.

    A thread, so that it hears while libraries load and while the event loop does not turn.
    """

    def __init__(self, line: Connection, slot: WorkerSlot, *, patience_seconds: float) -> None:
        super().__init__(name="foveal-orders", daemon=True)
        self._line = line
        self._slot = slot
        self._patience_seconds = patience_seconds
        self._server: Server | None = None
        self._lock = threading.Lock()

    def take(self, server: Server) -> None:
        """Let orders go to the server from now on; before, there is nothing to end with grace."""
        with self._lock:
            self._server = server

    def run(self) -> None:
        try:
            while True:
                self._obey(self._line.recv())
        except (EOFError, OSError):
            self._end_orphaned()

    def _obey(self, order: int) -> None:
        with self._lock:
            if self._server is None:
                os._exit(0)
            self._server.handle_exit(order, None)

    def _end_orphaned(self) -> None:
        """Without the grace, so that the address is soon free for a new service."""
        shutil.rmtree(self._slot.folder, ignore_errors=True)
        self._obey(SIGINT)
        time.sleep(self._patience_seconds)
        os._exit(1)


def _drain_seconds(settings: Settings) -> float:
    return settings.timeout_ms / 1e3 + settings.grace_seconds
