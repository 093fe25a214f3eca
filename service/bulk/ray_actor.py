"""A process of `foveal predict --ray`, and the connection to it: the only part that knows Ray.

Ray is an extra, so what needs its names gets them from `connected`.
"""

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from threading import Thread
from typing import Any

from service.bulk.answers import Answer, Answers, open_answers
from service.bulk.chunks import Read
from service.bulk.cluster import (
    Cluster,
    ClusterAnswers,
    Description,
    Place,
    WorkerLostError,
    places_of,
)
from service.bulk.head_watch import LOOK_SECONDS, head_is_gone
from service.bulk.predictor import Wanted
from service.cluster.connection import connected, import_ray, require_answer
from service.cluster.replicas import Refused
from service.errors import ConfigurationError
from service.logs import configure_logs
from service.runtime.host import spare_the_collector
from service.settings import Settings


class BulkWorker:
    """The engine in a process of the cluster. Ray calls these methods; what is refused is returned, not raised.

    Args:
        settings: of the run.
        draws: whether results are drawn too.
    """

    def __init__(self, settings: Settings, *, draws: bool) -> None:
        self._settings = settings
        self._draws = draws
        self._stack = AsyncExitStack()
        self._answers: Answers | None = None

    async def ready(self) -> str:
        """Return the version of foveal that this machine has."""
        return version_of("foveal")

    async def describe(self, wanted: Wanted) -> Description | Refused:
        configure_logs("critical", "text", open(os.devnull, "w"))  # noqa: ASYNC230, PTH123, SIM115  # for as long as it lives
        try:
            self._answers = await self._stack.enter_async_context(
                open_answers(self._settings, wanted, draws=self._draws)
            )
        except ConfigurationError as error:
            return Refused.of(error)
        spare_the_collector()
        answers = self._answers
        return Description(answers.record, answers.chunk, answers.in_flight)

    async def answers(self, read: Read) -> Sequence[Answer] | Refused:
        assert self._answers is not None  # it has described itself
        try:
            return await self._answers.answers(read)
        except ConfigurationError as error:
            return Refused.of(error)


class RayWorker:
    """A process of the cluster, as an actor; see `Worker`.

    Args:
        ray: the module.
        place: where it runs.
        settings: for it.
        draws: whether results are drawn too.
    """

    def __init__(self, ray: Any, place: Place, settings: Settings, *, draws: bool) -> None:  # noqa: ANN401
        self._ray = ray
        self._node = place.node
        # Where the machine of this place is gone, another one may have room.
        affinity = import_ray("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(
            place.node, soft=True
        )
        actor = ray.remote(BulkWorker).options(
            num_cpus=place.cpus,
            num_gpus=place.gpus,
            scheduling_strategy=affinity,
            max_restarts=0,
            max_concurrency=1000,
        )
        threads = settings.threads or place.cpus * (2 if place.gpus else 1)
        self._actor = actor.remote(settings.model_copy(update={"threads": threads}), draws=draws)

    async def ready(self) -> None:
        found = await self._answer(self._actor.ready.remote())
        if found != (own := version_of("foveal")):
            raise ConfigurationError(
                f"Machine {self._node} of the cluster has foveal {found}, and this one has {own}. Let all have the "
                "same."
            )

    async def describe(self, wanted: Wanted) -> Description:
        found: Description = await self._answer(self._actor.describe.remote(wanted))
        return found

    async def answers(self, read: Read) -> Sequence[Answer]:
        found: Sequence[Answer] = await self._answer(self._actor.answers.remote(read))
        return found

    def end(self) -> None:
        # In a thread: without its head, Ray waits here. At the end of the run it ends its processes by itself.
        Thread(target=self._kill, name="foveal-ray-kill", daemon=True).start()

    def _kill(self) -> None:
        with suppress(Exception):  # it is not connected any more, or the process is gone already
            self._ray.kill(self._actor)

    async def _answer(self, reference: Any) -> Any:  # noqa: ANN401
        errors = self._ray.exceptions
        try:
            found = await reference
        except errors.RayTaskError as error:  # a bug of ours, or foveal is not there
            last = traceback.format_exception_only(error.cause)[-1].strip()
            raise ConfigurationError(
                f"A process of the cluster failed with {last}. Is foveal {version_of('foveal')} with the same extras "
                "on each of its machines?"
            ) from error
        except errors.RayError as error:
            raise WorkerLostError(str(error).strip().partition("\n")[0]) from error
        if isinstance(found, Refused):
            raise ConfigurationError(f"On the cluster: {found.detail}")
        return found


@asynccontextmanager
async def open_cluster(
    cluster: Cluster,
    settings: Settings,
    wanted: Wanted,
    *,
    draws: bool,
    note: Callable[[str], None],
) -> AsyncIterator[ClusterAnswers]:
    """Give what answers on a cluster, for the length of the block.

    Args:
        cluster: which.
        settings: for its processes; a folder of models must lie at the same path on each machine.
        wanted: what shall answer.
        draws: whether each result is drawn on its image.
        note: tells the user.

    Raises:
        ConfigurationError: Ray is not installed, there is no such cluster, or it can not do what is wanted.
    """
    if isinstance(settings.models, Path):
        models = await asyncio.to_thread(settings.models.expanduser().resolve)
        settings = settings.model_copy(update={"models": models})
    with connected(cluster.address, cpus=None) as ray:
        machines = [
            (
                node["NodeID"],
                node["Resources"].get("CPU", 0.0),
                0.0
                if settings.device in {"cpu", "openvino"}
                else node["Resources"].get("GPU", 0.0),
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
        places = places_of(machines, cluster.cpus)

        def start(place: Place) -> RayWorker:
            return RayWorker(ray, place, settings, draws=draws)

        answers = ClusterAnswers(places, wanted, start, note)
        silenced = partial(_stop_listening, ray)
        watching = _watching(_head_of(ray, cluster.address), answers, silenced)
        async with watching, answers.running():
            note(f"{len(places)} processes of the cluster take the images.")
            yield answers


def _head_of(ray: Any, address: str) -> str:  # noqa: ANN401
    """Return where the head listens, for this process."""
    is_client = address.startswith("ray://")
    return address if is_client else str(ray.get_runtime_context().gcs_address)


def _stop_listening(ray: Any) -> None:  # noqa: ANN401
    """End the thread that prints what goes wrong on the cluster: without the head it takes a third of a core."""
    with suppress(AttributeError):  # no name of it is public
        ray._private.worker.global_worker.threads_stopped.set()  # noqa: SLF001


@asynccontextmanager
async def _watching(
    head: str, answers: ClusterAnswers, on_silent: Callable[[], None]
) -> AsyncIterator[None]:
    """Let the run end where the head goes during the block."""

    async def watch() -> None:
        look = partial(require_answer, head, LOOK_SECONDS)
        await answers.fail(await head_is_gone(look, on_silent=on_silent))

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
