"""One process of the service: the only one, or one of several that a supervisor started."""

import asyncio
import contextlib
import logging
import os
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from signal import SIGINT, SIGTERM
from types import FrameType
from typing import Protocol

from service.app import create_app
from service.background import background
from service.engine import Engine
from service.errors import ConfigurationError
from service.logs import LOGGER, configure_logs
from service.processes.catching_up import catch_up
from service.processes.child import ARE_YOU_ALIVE, Alive, Loaded, Refused
from service.processes.connection_counts import ConnectionCounts
from service.processes.end_log import EndLog
from service.processes.ending import (
    MARGIN_SECONDS,
    ExitProcess,
    LastResort,
    flush,
    stuck_threads,
    trace_crashes,
)
from service.processes.fleet_changes import read_overrides
from service.processes.folder_watch import require_watchfiles, watching
from service.processes.limits import Limits
from service.processes.peers import Peers
from service.processes.place_watch import looking
from service.processes.server import Server
from service.processes.slot import WorkerSlot
from service.processes.starting import answers_while_starting
from service.processes.tls import Tls
from service.runtime.change import Change, ChangeReport
from service.runtime.host import granted_threads, most_private_bytes, spare_the_collector
from service.runtime.opening import return_memory
from service.runtime.probing import DeviceCheck, is_lost
from service.runtime.wanted import NO_OVERRIDES
from service.settings import Settings
from service.storage.url import StorageUrl
from service.wiring import decoder_count

SPARE_FILES = 128
"""File descriptors that are not for connections: `MOST_BEYOND` are for those that end and begin, and the others for
models, libraries, pipes."""
MIN_CONNECTIONS = 16

log = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class Service:
    """The whole service of one process.

    Attributes:
        server: answers on the socket.
        last_resort: ends the process where the server does not.
        failed: returns whether the process ends because it can not serve any more; its exit code is 1 then.
        exit_process: ends the process at once with an exit code.
    """

    server: Server
    last_resort: LastResort
    failed: Callable[[], bool] = bool
    exit_process: ExitProcess = os._exit

    def run(self, listeners: list[socket.socket]) -> None:
        """Serve until a signal ends the service.

        Where a run never ends, the process ends here: Python and its libraries would wait for that thread, or crash.
        """
        trace_crashes()
        self.last_resort.start()
        self.server.run(listeners)
        self.last_resort.begin()
        if stuck := stuck_threads():
            log.warning("%d networks do not end; the process ends without them", len(stuck))
        if stuck or self.failed():
            flush()
            self.exit_process(1 if self.failed() else 0)


def make_service(
    settings: Settings,
    on_loaded: Callable[[Engine], None],
    slot: WorkerSlot | None = None,
    beside: AbstractAsyncContextManager[None] | None = None,
    device_check: DeviceCheck = is_lost,
) -> Service:
    """Return the whole service of one process; `slot` is None where it is the only one.

    A worker that starts while others serve accepts connections when its models are loaded: until then they answer.

    Args:
        settings: what the operator wants.
        on_loaded: called once, when every model was loaded or has failed.
        slot: the process's among several.
        beside: entered on the event loop before the service starts, and left after it has ended.
        device_check: see `Engine`.

    Raises:
        ConfigurationError: it can not start with these settings.
    """

    def loaded() -> None:
        spare_the_collector()
        server.begin()
        on_loaded(engine)

    def lost() -> None:
        # Signals of its own do not reach a worker.
        if slot is None:
            server.handle_exit(SIGTERM, None)
        else:
            server.leave()

    engine = Engine(
        settings,
        share=int if slot is None else slot.share,
        on_loaded=loaded,
        on_device_lost=lost,
        device_check=device_check,
        overrides=NO_OVERRIDES if slot is None else read_overrides(slot),
        environment=os.environ,
    )
    peers = None if slot is None else _join_peers(engine, slot)
    besides = [] if beside is None else [beside]
    if settings.watch and (slot is None or slot.index == 0):
        change = engine.changes.change if peers is None else peers.change
        besides.append(_watching(engine, settings, change))
    if peers is not None and slot is not None and slot.refilled:
        besides.append(background(catch_up(engine.loaded, peers.change)))
    last_resort = LastResort(end_seconds(settings))
    server = Server(
        create_app(engine, settings, peers=peers),
        grace_seconds=settings.grace_seconds,
        drain_seconds=_drain_seconds(settings),
        counts=None if slot is None else ConnectionCounts(slot),
        waits=slot is not None and slot.is_late,
        beside=_all([*([] if peers is None else [peers.listening()]), *besides]),
        on_end=last_resort.begin,
        end_log=EndLog("" if slot is None else slot.name),
        limits=connection_limits(settings),
        tls=tls_of(settings),
        trusted_proxies=settings.trusted_proxies,
    )
    return Service(server, last_resort, lambda: engine.device_lost)


def _watching(
    engine: Engine, settings: Settings, change: Callable[[Change], Awaitable[ChangeReport]]
) -> AbstractAsyncContextManager[None]:
    """Return what serves the changes of the place that the models come from.

    Raises:
        ConfigurationError: the package that watches a folder is missing.
    """
    if not engine.storage.is_folder:
        return looking(engine.storage.name, change, settings.watch_seconds)
    require_watchfiles()
    return watching(engine.storage.folder, change)


@asynccontextmanager
async def _all(contexts: Sequence[AbstractAsyncContextManager[None]]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for one in contexts:
            await stack.enter_async_context(one)
        yield


def connection_limits(settings: Settings) -> Limits:
    """Return what a connection may send and hold."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    spare = SPARE_FILES + _most_decoders(settings)
    fitting = 0 if files == resource.RLIM_INFINITY else max(MIN_CONNECTIONS, files - spare)
    return Limits(
        head_bytes=settings.max_head_bytes,
        head_seconds=settings.head_timeout_ms / 1e3,
        idle_seconds=settings.idle_timeout_ms / 1e3,
        write_seconds=settings.write_timeout_ms / 1e3,
        connections=settings.max_connections or fitting,
    )


def _most_decoders(settings: Settings) -> int:
    """Return how many decoder processes there may be: each has a socket."""
    threads = settings.threads or 2 * granted_threads()
    return decoder_count(settings, threads=threads, pool_threads=0)


def tls_of(settings: Settings) -> Tls | None:
    """Return the certificate that the settings name.

    Raises:
        ConfigurationError: they name what belongs to a certificate, and none.
    """
    if settings.ssl_certfile is None:
        if settings.ssl_keyfile is not None or settings.ssl_ca_certs is not None:
            raise ConfigurationError(
                "FOVEAL_SSL_KEYFILE or FOVEAL_SSL_CA_CERTS is set, and FOVEAL_SSL_CERTFILE is not. HTTPS needs all "
                "that belongs to its certificate; without a certificate set none of them."
            )
        return None
    return Tls(
        settings.ssl_certfile,
        settings.ssl_keyfile,
        settings.ssl_keyfile_password.get_secret_value(),
        settings.ssl_ca_certs,
    )


def _join_peers(engine: Engine, slot: WorkerSlot) -> Peers:
    """Return what reports on all processes of the service, this engine's among them."""
    if slot.refilled:
        engine.metrics.worker_restarts.inc()
    return Peers(slot, engine.metrics.registry, engine.not_ready, engine.changes)


def summary(engine: Engine) -> str:
    """Return the models that are served and the device, for the log."""
    registry = engine.registry
    ready = [model.name for model in registry.models if model.state == "ready"]
    models = ", ".join(dict.fromkeys(ready)) or "no model"
    return f"{models} on {registry.device.name} ({registry.device.detail})"


def answers_before(
    settings: Settings, listener: socket.socket
) -> contextlib.AbstractContextManager[None]:
    """Return what answers probes while the models are fetched from elsewhere, which takes long."""
    if not isinstance(settings.models, StorageUrl) or settings.ssl_certfile is not None:
        return contextlib.nullcontext()
    return answers_while_starting(
        listener,
        f"the models are being fetched from {settings.models} (the log says how far it is)",
    )


def work(
    settings: Settings,
    listener: socket.socket,
    slot: WorkerSlot,
    pipe: Connection,
    device_check: DeviceCheck = is_lost,
) -> None:
    """Serve until the supervisor relays a signal or is gone; the main function of a supervised process.

    The process's own signals are blocked, see `Supervisor`; they come over the pipe.
    """
    relay = SignalRelay(pipe, slot, drain_seconds=2 * _drain_seconds(settings))
    relay.start()
    configure_logs(settings.log_level, settings.log_format, sys.stdout)

    def loaded(engine: Engine) -> None:
        if slot.in_turn:  # the next one loads with what this one leaves
            return_memory()
        relay.send(Loaded(summary(engine), most_private_bytes()))

    try:
        # Where others serve already, none of their clients gets the answers of a start.
        begins = contextlib.nullcontext() if slot.is_late else answers_before(settings, listener)
        with begins:
            service = make_service(
                settings.of_worker(slot.index), loaded, slot, relay.on_loop(), device_check
            )
    except ConfigurationError as error:
        relay.send(Refused(str(error)))
        sys.exit(2)
    relay.connect(service.server)
    service.run([listener])


class SignalHandler(Protocol):
    """What a server does with a signal."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None: ...


class SignalRelay(threading.Thread):
    """Passes the signals from the supervisor's pipe to the server, and ends the process when the supervisor is gone.

    It is a thread, so that it also works while libraries load and while the event loop is blocked. The supervisor's
    question whether the process is alive is answered by the event loop where there is one: a process whose loop is
    blocked answers nobody else either.

    Args:
        pipe: the numbers of signals come from it.
        slot: its folder is removed when the supervisor, whose work that is, is gone.
        drain_seconds: how long the process may take to end without a supervisor.
        exit_process: ends the process at once with an exit code.
    """

    def __init__(
        self,
        pipe: Connection,
        slot: WorkerSlot,
        *,
        drain_seconds: float,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        super().__init__(name="foveal-signals", daemon=True)
        self._pipe = pipe
        self._slot = slot
        self._drain_seconds = drain_seconds
        self._exit_process = exit_process
        self._server: SignalHandler | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._sending = threading.Lock()

    def connect(self, server: SignalHandler) -> None:
        """Pass signals to the server from now on. Before, a signal ends the process at once: it has no requests."""
        with self._lock:
            self._server = server

    @asynccontextmanager
    async def on_loop(self) -> AsyncIterator[None]:
        """Let this event loop answer whether the process is alive, until the block ends."""
        self._loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            self._loop = None

    def send(self, message: Loaded | Refused | Alive) -> None:
        """Send the supervisor a message; from any thread."""
        with self._sending, contextlib.suppress(OSError):  # the supervisor is gone
            self._pipe.send(message)

    def run(self) -> None:
        try:
            while True:
                number = self._pipe.recv()
                if number == ARE_YOU_ALIVE:
                    self._answer()
                else:
                    self._relay(number)
        except (EOFError, OSError):
            self._end_orphaned()

    def _answer(self) -> None:
        loop = self._loop
        if loop is None:
            self.send(Alive())
            return
        with contextlib.suppress(
            RuntimeError
        ):  # the loop was closed; the next question is answered here
            loop.call_soon_threadsafe(self.send, Alive())

    def _relay(self, number: int) -> None:
        with self._lock:
            if self._server is None:
                self._exit_process(0)
            else:
                self._server.handle_exit(number, None)

    def _end_orphaned(self) -> None:
        """End without the grace, so that the address is soon free for a new service."""
        shutil.rmtree(self._slot.folder, ignore_errors=True)
        self._relay(SIGINT)
        time.sleep(self._drain_seconds)
        self._exit_process(1)


def end_seconds(settings: Settings) -> float:
    """Return how long a process may take to end after its signal."""
    return settings.grace_seconds + _drain_seconds(settings) + MARGIN_SECONDS


def _drain_seconds(settings: Settings) -> float:
    return settings.timeout_ms / 1e3 + settings.grace_seconds
