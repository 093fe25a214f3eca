"""The service as an application of Ray Serve: what Ray calls, and how what is written without Ray calls Ray."""

import asyncio
import logging
import secrets
import sys
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.experimental import internal_kv
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import RayServeException

from service.app import create_app
from service.cluster.arguments import ClusterArguments
from service.cluster.asgi import WhenLoaded
from service.cluster.coordinator import Coordinator
from service.cluster.fleet_state import Placement
from service.cluster.ingress_replica import Fellows, IngressReplica
from service.cluster.model_replica import ModelReplica, find_servable
from service.cluster.placement import resources_of
from service.cluster.replicas import Description, Refused, ReplicaLostError
from service.errors import ConfigurationError, InferenceError, UnavailableError
from service.logs import LOGGER, configure_logs
from service.runtime.job import Outputs, Tensor
from service.settings import Settings
from service.wiring import make_storage

log = logging.getLogger(LOGGER)

T = TypeVar("T")

COORDINATOR, INGRESS, MODEL = "coordinator", "ingress", "model"
NAMESPACE = b"foveal"
ANSWER_SECONDS = 15.0
"""How long the coordinator may take for what needs no other replica."""
CHANGE_SECONDS = 1000.0
HEALTH_SECONDS = 5.0
BATCHES_IN_REPLICA = 4
"""So many batches are in a replica of a model at once: one runs, and the others wait beside it and join."""
SPARE_REQUESTS = 64


def build(arguments: ClusterArguments) -> Any:  # noqa: ANN401  # ships no types that mypy could use
    """Return the application: the ingress and the coordinator. The coordinator adds one for each model.

    Raises:
        ConfigurationError: the settings can not be served so.
    """
    settings = _portable(Settings())
    with closing(make_storage(settings)) as storage:
        storage.refresh()
        storage.scan()
    coordinator = serve.deployment(CoordinatorDeployment).options(
        name=COORDINATOR,
        num_replicas=1,
        max_ongoing_requests=10_000,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=HEALTH_SECONDS,
    )
    ingress = serve.deployment(serve.ingress()(IngressDeployment)).options(
        name=INGRESS,
        max_ongoing_requests=2 * settings.queue_size + SPARE_REQUESTS,
        ray_actor_options={"num_cpus": arguments.ingress_cpus},
        autoscaling_config=_autoscaling(
            arguments, arguments.min_ingress, arguments.max_ingress, arguments.requests_per_ingress
        ),
        health_check_period_s=HEALTH_SECONDS,
        graceful_shutdown_timeout_s=_end_seconds(settings),
    )
    bound = coordinator.bind(settings, arguments, secrets.token_hex(4))
    return ingress.bind(settings, arguments, bound)


def _portable(settings: Settings) -> Settings:
    """Return the settings as each machine of the cluster can use them.

    Raises:
        ConfigurationError: one of them is of a service that has its own socket.
    """
    names = [
        f"FOVEAL_{name.upper()}"
        for name in ("watch", "workers", "ssl_certfile", "trusted_proxies")
        if getattr(settings, name)
        != Settings.model_fields[name].get_default(call_default_factory=True)
    ]
    if names:
        raise ConfigurationError(
            f"{', '.join(names)}: on a cluster Ray Serve has the socket and starts the processes. Leave it out; "
            "docs/cluster.md says what takes its place."
        )
    # A process of Ray works in another folder.
    paths = {
        name: found.expanduser().resolve()
        for name in Settings.model_fields
        if isinstance(found := getattr(settings, name), Path)
    }
    return settings.model_copy(update=paths)


def _autoscaling(
    arguments: ClusterArguments, least: int, most: int, target: float
) -> AutoscalingConfig:
    look_back = max(2.0, 2 * arguments.upscale_seconds)
    return AutoscalingConfig(
        min_replicas=least,
        initial_replicas=max(1, least),
        max_replicas=most,
        target_ongoing_requests=target,
        upscale_delay_s=arguments.upscale_seconds,
        downscale_delay_s=arguments.downscale_seconds,
        look_back_period_s=look_back,
        metrics_interval_s=look_back / 4,
    )


def _end_seconds(settings: Settings) -> float:
    """Return how long a replica may answer what it has accepted: the deadline of a request, and a little more."""
    return settings.timeout_ms / 1e3 + settings.grace_seconds + 5.0


def _begin_logs(settings: Settings) -> None:
    configure_logs(settings.log_level, settings.log_format, sys.stdout)


class IngressDeployment:
    """One replica of the ingress, as Ray Serve calls it."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        settings: Settings,
        arguments: ClusterArguments,
        coordinator: Any,  # noqa: ANN401
    ) -> None:
        _begin_logs(settings)
        caller = CallsCoordinator(coordinator)
        self._replica = IngressReplica(
            settings,
            arguments,
            f"ingress {serve.get_replica_context().replica_tag}",
            coordinator=caller,
            replicas_of=ReplicasOnRay,
        )
        engine = await self._replica.open()
        service = create_app(engine, self._replica.settings, peers=Fellows(self._replica, caller))
        self._service = WhenLoaded(service, self._replica)

    def __serve_build_asgi_app__(self) -> WhenLoaded:  # Ray Serve calls it by this name
        return self._service

    async def check_health(self) -> None:
        self._replica.require_current()

    async def report(self) -> tuple[str, bytes]:
        return await asyncio.to_thread(self._replica.report)

    async def not_ready(self) -> tuple[str, list[str]]:
        return self._replica.not_ready()

    async def prepare(self, identity: str, change: dict[str, Any]) -> tuple[str, Any]:
        return await self._replica.prepare(identity, change)

    async def do_without(self, identity: str, failures: list[Any]) -> tuple[str, Any]:
        return await self._replica.do_without(identity, failures)

    async def commit(self, identity: str, revision: int) -> tuple[str, Any]:
        return await self._replica.commit(identity, revision)

    async def drop(self, identity: str) -> None:
        await self._replica.drop(identity)


class ModelDeployment:
    """One replica of a version of a model, as Ray Serve calls it."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, settings: Settings, placement: Placement, coordinator: tuple[str, str]
    ) -> None:
        _begin_logs(settings)
        self._coordinator = coordinator
        tag = serve.get_replica_context().replica_tag
        self._replica = ModelReplica(
            settings,
            (placement.name, placement.version),
            placement.digest,
            f"{placement.name} {placement.version} {tag}",
        )
        await self._replica.load()

    async def check_health(self) -> None:
        self._replica.require_healthy()

    async def describe(self) -> Description | Refused:
        return self._replica.describe()

    async def infer(self, batch: Tensor) -> Outputs | Refused:
        return await self._replica.infer(batch)

    async def report(self) -> tuple[str, bytes]:
        return await asyncio.to_thread(self._replica.report)

    async def __del__(self) -> None:
        handle = serve.get_deployment_handle(*self._coordinator)
        try:
            await CallsCoordinator(handle).leave(*self._replica.report())
        except UnavailableError as error:
            log.warning("what this replica has counted since the last scrape is lost: %s", error)
        await self._replica.close()


class CoordinatorDeployment:
    """The coordinator, as Ray Serve calls it."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, settings: Settings, arguments: ClusterArguments, identity: str
    ) -> None:
        _begin_logs(settings)
        context = serve.get_replica_context()
        self._cluster = ServeCluster(settings, arguments, context.app_name, identity)
        self._coordinator = Coordinator(self._cluster)
        await self._coordinator.start()

    async def join(self, member: str) -> dict[str, Any]:
        return await self._coordinator.join(member)

    async def beat(self, member: str, holds: list[str]) -> int:
        return await self._coordinator.beat(member, holds)

    async def leave(self, member: str, families: bytes) -> None:
        await self._coordinator.leave(member, families)

    async def place(self, member: str, name: str, version: int, digest: str) -> str:
        return await self._coordinator.place(member, name, version, digest)

    async def change(self, change: dict[str, Any]) -> dict[str, Any] | Refused:
        return await self._coordinator.change(change)

    async def exposition(self) -> bytes:
        return await self._coordinator.exposition()

    async def not_ready(self) -> list[str]:
        return await self._coordinator.not_ready()

    async def __del__(self) -> None:
        await self._coordinator.close()


class CallsCoordinator:
    """The coordinator behind a handle of Ray Serve; see `FromCoordinator`."""

    def __init__(self, handle: Any) -> None:  # noqa: ANN401
        self._handle = handle

    async def join(self, member: str) -> dict[str, Any]:
        return await _answer(self._handle.join.remote(member), CHANGE_SECONDS)

    async def beat(self, member: str, holds: list[str]) -> int:
        return await _answer(self._handle.beat.remote(member, holds), ANSWER_SECONDS)

    async def leave(self, member: str, families: bytes) -> None:
        await _answer(self._handle.leave.remote(member, families), ANSWER_SECONDS)

    async def change(self, change: dict[str, Any]) -> dict[str, Any] | Refused:
        return await _answer(self._handle.change.remote(change), CHANGE_SECONDS)

    async def exposition(self) -> bytes:
        return await _answer(self._handle.exposition.remote(), ANSWER_SECONDS)

    async def not_ready(self) -> list[str]:
        return await _answer(self._handle.not_ready.remote(), ANSWER_SECONDS)

    def place(self, member: str, name: str, version: int, digest: str) -> str:
        try:
            app: str = self._handle.place.remote(member, name, version, digest).result(
                timeout_s=CHANGE_SECONDS
            )
        except (RayError, RayServeException, TimeoutError) as error:
            raise _unavailable(error) from error
        return app


async def _answer(response: Awaitable[T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await response
    except (RayError, RayServeException, TimeoutError) as error:
        raise _unavailable(error) from error


def _unavailable(error: BaseException) -> UnavailableError:
    log.warning("the coordinator does not answer", exc_info=error)
    return UnavailableError(
        "The replica that all others agree through does not answer; Ray Serve replaces it. Try again in a moment."
    )


class ReplicasOnRay:
    """The replicas of a model behind a handle of Ray Serve; see `Replicas`."""

    def __init__(self, app: str) -> None:
        self._handle = serve.get_deployment_handle(MODEL, app)

    def describe(self, timeout_seconds: float) -> Description | Refused:
        found: Description | Refused = self._result(self._handle.describe.remote(), timeout_seconds)
        return found

    def infer(self, batch: Tensor, timeout_seconds: float) -> Outputs | Refused:
        outputs: Outputs | Refused = self._result(self._handle.infer.remote(batch), timeout_seconds)
        return outputs

    @staticmethod
    def _result(response: Any, timeout_seconds: float) -> Any:  # noqa: ANN401
        try:
            return response.result(timeout_s=timeout_seconds)
        except TimeoutError:
            response.cancel()
            raise
        except RayTaskError as error:  # our own code failed there
            raise InferenceError(f"A replica failed: {error.cause}") from error
        except (RayError, RayServeException) as error:
            raise ReplicaLostError(str(error)) from error


class ServeCluster:
    """A cluster with Ray Serve, as the coordinator sees it; see `Cluster`.

    Args:
        settings: of the service.
        arguments: of the cluster.
        app: the name of the service's application.
        identity: of this deployment of the service: another one does not go on where this one ended.
    """

    def __init__(
        self, settings: Settings, arguments: ClusterArguments, app: str, identity: str
    ) -> None:
        self._settings = settings
        self._arguments = arguments
        self._app = app
        self._key = f"{app} {identity}".encode()
        self._handles: dict[str, Any] = {}

    def read(self) -> bytes:
        found: bytes | None = internal_kv._internal_kv_get(self._key, namespace=NAMESPACE)  # noqa: SLF001  # no other
        return found or b""

    def write(self, state: bytes) -> None:
        internal_kv._internal_kv_put(self._key, state, overwrite=True, namespace=NAMESPACE)  # noqa: SLF001

    def forget(self) -> None:
        internal_kv._internal_kv_del(self._key, namespace=NAMESPACE)  # noqa: SLF001

    def deploy(self, placement: Placement) -> None:
        key = placement.name, placement.version
        with closing(make_storage(self._settings)) as storage:
            servable = find_servable(storage, key, placement.digest)
        needs = resources_of(
            placement.name, servable.card.cost, servable.size_bytes, self._arguments
        )
        settings = self._settings.model_copy(
            update={
                "threads": self._settings.threads or max(1, round(needs.cpus)),
                # Ray shows a replica its own GPU only.
                "device_id": 0 if needs.gpus else self._settings.device_id,
            }
        )
        least, most = self._arguments.replicas_of(placement.name)
        model = serve.deployment(ModelDeployment).options(
            name=MODEL,
            max_ongoing_requests=BATCHES_IN_REPLICA,
            ray_actor_options={
                "num_cpus": needs.cpus,
                "num_gpus": needs.gpus,
                "memory": needs.memory_bytes,
            },
            autoscaling_config=_autoscaling(
                self._arguments, least, most, self._arguments.queue_per_replica
            ),
            health_check_period_s=HEALTH_SECONDS,
            graceful_shutdown_timeout_s=_end_seconds(self._settings),
        )
        serve.run_many(
            [
                serve.RunTarget(
                    target=model.bind(settings, placement, (COORDINATOR, self._app)),
                    name=placement.app,
                    route_prefix=None,
                )
            ],
            wait_for_applications_running=False,
        )

    def delete(self, app: str) -> None:
        self._handles.pop(app, None)
        serve.delete(app, _blocking=False)

    async def ask_ingress(self, method: str, *given: Any, timeout_seconds: float) -> list[Any]:  # noqa: ANN401
        handle = await self._handle(INGRESS, self._app)
        return await _broadcast(handle, method, given, timeout_seconds)

    async def ask_model(self, app: str, method: str, *, timeout_seconds: float) -> list[Any]:
        return await _broadcast(await self._handle(MODEL, app), method, (), timeout_seconds)

    async def _handle(self, name: str, app: str) -> Any:  # noqa: ANN401
        if app not in self._handles:  # this blocks
            self._handles[app] = await asyncio.to_thread(serve.get_deployment_handle, name, app)
        return self._handles[app]


async def _broadcast(
    handle: Any,  # noqa: ANN401
    method: str,
    given: tuple[Any, ...],
    seconds: float,
) -> list[Any]:
    """Return what each replica that runs answers; none where none runs."""
    try:
        answers: list[Any] = await handle.broadcast(method, *given).results_async(
            timeout_s=seconds, return_exceptions=True
        )
    except (RayError, RayServeException, TimeoutError) as error:
        log.warning("%s reached no replica: %s", method, error)
        return []
    return answers
