"""Several processes on one socket: started, watched, replaced when they die or hang, and ended together."""

import asyncio
import contextlib
import logging
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path

from service.errors import ConfigurationError
from service.logs import LOGGER
from service.processes.child import SIGNALS, Child, Loaded, Work
from service.processes.connection_counts import ConnectionCounts
from service.processes.shared_memory import SharedMemory
from service.processes.slot import WorkerSlot

log = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a worker that died or hangs is replaced.

    The pause doubles with each death of a worker that had not served for `stable_seconds`. The service ends after
    `starts` workers of one slot in a row that died before their models were loaded; one that refuses to start with the
    files as they are, or for which there is no memory, is not counted while others serve. Every `round_seconds` each
    worker must answer that it is alive. One that owes its answer for `silent_rounds` is killed, or its first answer
    for `first_rounds`: it loads libraries before. Rounds are counted and not time, so that a machine that slept does
    not lose all its workers.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    stable_seconds: float = 60.0
    starts: int = 5
    round_seconds: float = 1.0
    silent_rounds: int = 20
    first_rounds: int = 120

    def pause_seconds(self, deaths: int) -> float:
        """Return the pause after so many deaths in a row, one or more."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** (deaths - 1))


END_SECONDS = 90.0

_HINTS = {
    "SIGKILL": "which the kernel sends when memory is short",
    "SIGBUS": (
        "which the kernel sends where a mapped file got shorter: the weights beside a model were written into, and not "
        "replaced by a rename"
    ),
}
"""What a signal usually means, by its name."""


class Supervisor:
    """Keeps `count` workers on one socket until SIGTERM, SIGHUP or SIGINT.

    It relays the signals to every worker, which ends as a service of one process does; it lets a stopped one go on, as
    systemd does. Workers have these signals blocked: a terminal sends Ctrl+C, and systemd its SIGTERM, to the workers
    too, and a second signal would skip the grace.

    Args:
        work: the workers' main function.
        listener: the socket that they share.
        count: how many workers there are.
        on_loaded: called once with a worker's summary, when the models of all workers are loaded.
        memory: what they share; None: that of this machine. Where it is tight, each starts when the one before has
            loaded its models.
        restarts: when a worker that died or hangs is replaced.
        end_seconds: how long the workers may take to end after the signal; then they are killed.
    """

    def __init__(
        self,
        work: Work,
        listener: socket.socket,
        count: int,
        *,
        on_loaded: Callable[[str], None],
        memory: SharedMemory | None = None,
        restarts: RestartPolicy | None = None,
        end_seconds: float = END_SECONDS,
    ) -> None:
        self._work = work
        self._listener = listener
        self._count = count
        self._on_loaded = on_loaded
        self._memory = memory or SharedMemory.of_this_machine(count)
        self._line = asyncio.Lock()
        """Held by the worker that loads, where memory is tight."""
        self._restarts = restarts or RestartPolicy()
        self._children: dict[int, Child] = {}
        self._kills: dict[int, Mapping[Path, int]] = {}
        """By slot, how many processes the kernel had ended for want of memory when its worker started."""
        self._loaded: set[int] = set()
        self._announced = False
        self._end_seconds = end_seconds
        self._ending = asyncio.Event()
        self._codes: set[int] = set()

    def run(self) -> int:
        """Return the exit code when a signal has ended the service: 0 where every worker exited with 0.

        Raises:
            ConfigurationError: the workers can not start with these settings, or die repeatedly before they are ready.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            # nohup makes SIGHUP ignored. A shell without job control makes SIGINT ignored for what it starts with `&`,
            # and one process handles that signal all the same.
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        # Started now, because its own start would unblock the signals that `Child` blocks for its process.
        resource_tracker.ensure_running()
        with _shared_folder() as folder:
            keepers = [asyncio.create_task(self._keep(slot)) for slot in self._slots(Path(folder))]
            watching = asyncio.create_task(self._watch())
            try:
                await asyncio.gather(*keepers)
            except ConfigurationError:
                self._end(signal.SIGTERM if self._announced else signal.SIGINT)
                await asyncio.gather(*keepers, return_exceptions=True)
                raise
            finally:
                watching.cancel()
        if self._codes <= {0}:
            log.info("Foveal ended; every worker ended by itself")
            return 0
        log.error("Foveal ended; workers ended with the codes %s", sorted(self._codes))
        return 1

    def _slots(self, folder: Path) -> list[WorkerSlot]:
        in_turn = self._memory.is_tight
        return [
            WorkerSlot(folder, index, self._count, in_turn=in_turn) for index in range(self._count)
        ]

    async def _keep(self, slot: WorkerSlot) -> None:
        """Keep a worker in this slot until the service ends."""
        deaths = failed_starts = 0
        while not self._ending.is_set():
            child = await self._start(slot)
            if child is None:
                return
            code = await child.ended
            del self._children[slot.index]
            if self._ending.is_set():
                if child.end:
                    log.error("%s (pid %d) %s", slot.name, child.pid, child.end)
                self._codes.add(code)
                return
            ConnectionCounts(slot).vacate()
            deaths = 1 if child.served_seconds() > self._restarts.stable_seconds else deaths + 1
            if child.loaded_at:
                failed_starts = 0
            advice = self._advice(child, slot, code)
            # A file can be mended meanwhile, and memory be freed.
            if not child.loaded_at and not ((child.refused or advice) and self._others_serve()):
                failed_starts += 1
            how = child.refused or child.end or _describe_end(code) + advice
            if (child.refused and not self._announced) or failed_starts == self._restarts.starts:
                raise ConfigurationError(
                    how
                    if child.refused
                    else f"{slot.name} failed to start {failed_starts} times; the last {how}."
                )
            pause = self._restarts.pause_seconds(deaths)
            log.error(
                "%s (pid %d) %s; the next one starts in %g s", slot.name, child.pid, how, pause
            )
            await self._pause(pause)
            slot = replace(slot, refilled=True)

    async def _start(self, slot: WorkerSlot) -> Child | None:
        """Start a worker, where memory is tight when no other one loads; None: the service ends meanwhile."""
        if not self._memory.is_tight:
            return self._start_now(slot)
        async with self._line:
            if self._ending.is_set():
                return None
            child = self._start_now(slot)
            await child.settled.wait()
            return child

    def _start_now(self, slot: WorkerSlot) -> Child:
        self._kills[slot.index] = self._memory.kills()
        child = Child(self._work, self._listener, slot, self._on_loaded_child)
        self._children[slot.index] = child
        log.debug("%s has pid %d", slot.name, child.pid)
        return child

    def _advice(self, child: Child, slot: WorkerSlot, code: int) -> str:
        """Return what to do about a worker that has ended, where memory was short; else nothing."""
        if code != -signal.SIGKILL or child.end:
            return ""
        return self._memory.advice(self._kills[slot.index])

    def _others_serve(self) -> bool:
        return any(child.loaded_at is not None for child in self._children.values())

    async def _watch(self) -> None:
        """Kill the workers that do not answer any more; `_keep` replaces them."""
        while True:
            await asyncio.sleep(self._restarts.round_seconds)
            for child in tuple(self._children.values()):
                rules = self._restarts
                rounds = rules.silent_rounds if child.has_answered else rules.first_rounds
                if child.ask() == rounds:
                    child.kill(
                        f"did not answer for {rounds * rules.round_seconds:g} s and was killed"
                    )

    def _kill_the_rest(self) -> None:
        for child in self._children.values():
            child.kill("did not end and was killed")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    def _on_loaded_child(self, slot: WorkerSlot, message: Loaded) -> None:
        self._memory.loaded(message.took_bytes)
        self._loaded.add(slot.index)
        if slot.refilled:
            log.info("%s serves again", slot.name)
        if len(self._loaded) == self._count and not self._announced:
            self._announced = True
            self._on_loaded(message.summary)

    def _on_signal(self, number: int) -> None:
        if not self._ending.is_set():
            log.info("received %s; the workers end", signal.Signals(number).name)
        self._end(number)

    def _end(self, number: int) -> None:
        if not self._ending.is_set():
            asyncio.get_running_loop().call_later(self._end_seconds, self._kill_the_rest)
        self._ending.set()
        self._listener.close()  # or the kernel would accept connections after the last worker has closed its own
        for child in self._children.values():
            child.relay(number)
            child.go_on()


@contextlib.contextmanager
def _shared_folder() -> Iterator[str]:
    """A folder for what the workers share, which is removed at the end."""
    try:
        made = tempfile.TemporaryDirectory(prefix="foveal-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigurationError(
            f"The workers share a temporary folder, and none can be made: {error.strerror or error}. Let TMPDIR name "
            "one that can be written, such as a mounted tmpfs, or serve with --workers 1."
        ) from error
    with made as folder:
        yield folder


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    name = signal.Signals(-code).name
    hint = f", {_HINTS[name]}" if name in _HINTS else ""
    return f"was ended by {name}{hint}"
