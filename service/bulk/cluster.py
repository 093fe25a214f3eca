"""`--ray`: the images through processes of a Ray cluster. Sources are read and rows are written here.

A process of the cluster is an actor with the engine that serves, and the wanted model. A chunk whose actor dies goes to
another one; so the rows are those of one machine, in the same order, and only this process can end the run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from service.bulk.answers import Answer
from service.bulk.chunks import Read
from service.bulk.predictor import Wanted
from service.bulk.record import Record
from service.bulk.rows import Served
from service.errors import ConfigurationError, InferenceError
from service.runtime.daemon_call import daemon_call

MOST_LOSSES = 3
"""So often a chunk is tried again whose process died; then its images go one by one, each as often again."""
PAUSE_SECONDS = 1.0
"""Before a process takes the place of one that died: its machine may be on its way down."""
MOST_STARTS = 5
"""So often in a row a process is started that dies before it has its model."""
WAIT_NOTE_SECONDS = 15.0
"""After so long without any process, a note says what is waited for."""
ROOM_SECONDS = 600.0
"""After so long without any process, the run ends: a cluster that grows has its machines by then."""


class WorkerLostError(Exception):
    """A process of the cluster died, or its machine can not be reached: another one can do the same."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster, and how it is used.

    Attributes:
        address: see `connected`.
        cpus: CPUs of each process; None: all of a machine, or on a machine with GPUs its part for each of them.
    """

    address: str
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process can be: on which machine, and what it has there."""

    node: str
    cpus: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Description:
    """What a process says of itself once its model is loaded."""

    record: Record
    chunk: int
    in_flight: int


class Worker(Protocol):
    """A process of the cluster. Its methods raise `WorkerLostError`, or ConfigurationError where it can not work."""

    async def ready(self) -> None:
        """Return when the process runs; the cluster may have no room for it for long."""
        ...

    async def describe(self, wanted: Wanted) -> Description:
        """Load the model."""
        ...

    async def answers(self, read: Read) -> Sequence[Answer]: ...

    def end(self) -> None:
        """Let the process end."""
        ...


Start = Callable[[Place], Worker]
"""Starts a process in a place."""


def places_of(machines: Sequence[tuple[str, float, float]], cpus: int | None) -> list[Place]:
    """Return where processes can be, as many as the machines have room for.

    Args:
        machines: the name, CPUs and GPUs of each.
        cpus: see `Cluster`.

    Raises:
        ConfigurationError: there is room for none.
    """
    places = []
    for node, has, gpus in machines:
        if gpus >= 1:
            each = cpus or max(1, int(has / int(gpus)))
            count = min(int(gpus), int(has) // each)
            places += [Place(node, each, 1)] * count
        elif has >= 1:
            each = cpus or int(has)
            places += [Place(node, each)] * (int(has) // each)
    if not places:
        largest = max((has for _, has, _ in machines), default=0)
        raise ConfigurationError(
            f"No machine of the cluster has room for a process: the largest has {largest:g} CPUs, and "
            f"{cpus or 1} are needed. Give a smaller --ray-cpus, or start Ray with --num-cpus."
        )
    return places


@dataclass(slots=True, eq=False)
class _Member:
    """A process that takes chunks: how many it has, and how many it may have."""

    worker: Worker
    room: int
    busy: int = 0
    reserved: bool = False
    """Whether it is kept for one image alone."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)


class ClusterAnswers:
    """Sends chunks to processes of a cluster and returns their answers; see `Answering`.

    Args:
        places: one process is kept in each.
        wanted: what shall answer; which version, the first process says.
        start: starts one.
        note: tells the user.
        pause_seconds: see `PAUSE_SECONDS`.
        note_seconds: see `WAIT_NOTE_SECONDS`.
        room_seconds: see `ROOM_SECONDS`.
    """

    def __init__(
        self,
        places: Sequence[Place],
        wanted: Wanted,
        start: Start,
        note: Callable[[str], None],
        *,
        pause_seconds: float = PAUSE_SECONDS,
        note_seconds: float = WAIT_NOTE_SECONDS,
        room_seconds: float = ROOM_SECONDS,
    ) -> None:
        self._places = places
        self._places_left = len(places)
        self._wanted = wanted
        self._start = start
        self._note = note
        self._pause_seconds = pause_seconds
        self._note_seconds = note_seconds
        self._room_seconds = room_seconds
        self._started = 0
        """How many processes run, with or without their model."""
        self._described: asyncio.Future[Description] = asyncio.get_running_loop().create_future()
        self._describing = asyncio.Lock()
        self._suspecting = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._members: list[_Member] = []
        self._keeping: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._failing = asyncio.Event()
        self.losses = 0
        """How many processes have died."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep a process in each place for the length of the block, which begins when the first one has its model.

        Raises:
            ConfigurationError: a process says that it can not work, as where there is no such model; or the cluster
                has no room for one.
        """
        self._keeping = [asyncio.create_task(self._keep(place)) for place in self._places]
        waiting = asyncio.create_task(self._require_room())
        try:
            await asyncio.shield(self._described)
            yield
        finally:
            if self._described.done() and not self._described.cancelled():
                self._described.exception()
            for task in (*self._keeping, waiting):
                task.cancel()
            await asyncio.wait([*self._keeping, waiting])

    @property
    def record(self) -> Record:
        return self._described.result().record

    @property
    def chunk(self) -> int:
        return self._described.result().chunk

    @property
    def in_flight(self) -> int:
        """How many chunks keep all processes busy."""
        return self._described.result().in_flight * len(self._places)

    async def answers(self, read: Read) -> list[Answer]:
        """Return the answer of each image; see `Answering`."""
        found = await self._tried(read, alone=False)
        if found is not None:
            return found
        answers = []
        for image in read:
            async with self._suspecting:  # else another suspect could be what kills its process
                found = await self._tried([image], alone=True)
            answers += [self._suspected(image[0])] if found is None else found
        return answers

    async def failed(self) -> Exception:
        """Return why nothing answers any more, once that is so."""
        await self._failing.wait()
        assert self._failure is not None
        return self._failure

    async def _tried(self, read: Read, *, alone: bool) -> list[Answer] | None:
        """Return the answers; None where `MOST_LOSSES` processes died."""
        for _ in range(MOST_LOSSES):
            member = await self._taken(alone=alone)
            try:
                return await self._asked(member, read)
            except WorkerLostError:
                await self._lose(member)
            finally:
                await self._given_back(member)
        return None

    async def _asked(self, member: _Member, read: Read) -> list[Answer]:
        """Return what a process answers; a machine that is gone may never do, also when the run has failed.

        Raises:
            WorkerLostError: the process died.
            Exception: none can work any more.
        """
        asking = asyncio.ensure_future(member.worker.answers(read))
        failing = asyncio.create_task(self._failing.wait())
        try:
            await asyncio.wait({asking, failing}, return_when=asyncio.FIRST_COMPLETED)
            if self._failure is not None and not asking.done():
                raise self._failure
            return list(await asking)
        finally:
            asking.cancel()
            failing.cancel()

    def _suspected(self, name: str) -> Answer:
        record = self.record
        error = InferenceError(
            f"{MOST_LOSSES} processes of the cluster died while they had this image and no other. It crashes a "
            "library, or needs more memory than they have."
        )
        return Answer(Served(record.model, record.version).row(name, error))

    # Processes.

    async def _keep(self, place: Place) -> None:
        """Keep a process in a place: start it, let it take chunks, and start another when it died."""
        failures, last = 0, ""
        while failures < MOST_STARTS:
            try:
                await self._live(place)
                failures = 0
            except WorkerLostError as error:
                failures, last = failures + 1, str(error)
                self.losses += 1
                self._note(f"A process of the cluster died while it started: {error}")
            except Exception as error:  # noqa: BLE001  # what waits for a process would wait forever
                await self.fail(error)
                return
            await asyncio.sleep(self._pause_seconds * max(1, failures))
        self._places_left -= 1
        if not self._places_left:
            await self.fail(
                ConfigurationError(f"No process of the cluster starts any more: {last}")
            )

    async def _live(self, place: Place) -> None:
        """Start a process and return when it died.

        Raises:
            WorkerLostError: it died before it could take a chunk.
            ConfigurationError: see `_description`.
        """
        # In a thread: without its head, Ray waits here.
        worker = await daemon_call(partial(self._start, place), "foveal-ray-start")
        try:
            await worker.ready()
            async with self._has_started():
                found = await self._description(worker, place)
                member = _Member(worker, found.in_flight)
                async with self._changed:
                    self._members.append(member)
                    self._changed.notify_all()
                await member.lost.wait()
        finally:
            worker.end()

    @asynccontextmanager
    async def _has_started(self) -> AsyncIterator[None]:
        """Count a process for the length of the block."""
        async with self._changed:
            self._started += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            async with self._changed:
                self._started -= 1
                self._changed.notify_all()

    async def _description(self, worker: Worker, place: Place) -> Description:
        """Load the model in a process; the first one chooses the version, and the others have to have the same.

        Raises:
            WorkerLostError: the process died.
            ConfigurationError: it can not do what is wanted, or has something else than the first.
        """
        async with self._describing:
            if not self._described.done():
                found = await worker.describe(self._wanted)
                self._described.set_result(found)
                return found
        record = self.record
        wanted = replace(self._wanted, model=f"{record.model}:{record.version}")
        found = await worker.describe(wanted)
        _require_same(found.record, record, place)
        return found

    async def _taken(self, *, alone: bool) -> _Member:
        """Return a process with room for a chunk; `alone`: one that has no other.

        Raises:
            Exception: none can work any more.
        """
        async with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                able = [one for one in self._members if one.busy < one.room and not one.reserved]
                if able:
                    member = min(able, key=lambda one: one.busy)
                    member.reserved = alone
                    member.busy += 1
                    break
                await self._changed.wait()
            try:
                while alone and member.busy > 1:
                    await self._changed.wait()
            except asyncio.CancelledError:
                member.busy, member.reserved = member.busy - 1, False
                raise
            return member

    async def _given_back(self, member: _Member) -> None:
        async with self._changed:
            member.busy -= 1
            member.reserved = False
            self._changed.notify_all()

    async def _lose(self, member: _Member) -> None:
        if member.lost.is_set():
            return
        self.losses += 1
        self._note("A process of the cluster died. Its images go to another one.")
        member.lost.set()
        async with self._changed:
            self._members.remove(member)

    async def fail(self, error: Exception) -> None:
        """End the run: what one process can not do, none can."""
        self._failure = error
        self._failing.set()
        if not self._described.done():
            self._described.set_exception(error)
        async with self._changed:
            self._changed.notify_all()

    async def _require_room(self) -> None:
        """End the run where the cluster has no room for any process for too long."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._started)
            if await self._starts_within(self._note_seconds):
                continue
            needs = self._needs()
            self._note(
                f"No process runs on the cluster now. {needs}, which other work on it may have; `ray status` shows it, "
                f"and --ray-cpus 1 asks for less. This waits for {self._room_seconds:g} s at most."
            )
            if not await self._starts_within(self._room_seconds - self._note_seconds):
                await self.fail(
                    ConfigurationError(
                        f"The cluster had no room for a process for {self._room_seconds:g} s. {needs}, and other work "
                        "has them: a service on Ray keeps the CPUs of its replicas. Make room, start a machine, or ask "
                        "for less with --ray-cpus 1; go on with --resume."
                    )
                )
                return

    async def _starts_within(self, seconds: float) -> bool:
        """Wait until a process runs, and return whether one did in this time."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._started)
        except TimeoutError:
            return False
        return True

    def _needs(self) -> str:
        place = self._places[0]
        gpu = " and a GPU" if place.gpus else ""
        return f"Each needs {place.cpus} CPUs{gpu} of a machine"


def _require_same(found: Record, expected: Record, place: Place) -> None:
    if found != expected:
        name = next(
            name
            for name in ("foveal", "model", "version", "graph_sha256", "options", "task")
            if getattr(found, name) != getattr(expected, name)
        )
        raise ConfigurationError(
            f"Machine {place.node} of the cluster has {name} {getattr(found, name)}, and another one has "
            f"{getattr(expected, name)}. Let all have the same models and the same foveal."
        )
