"""One replica of the ingress, with a coordinator and replicas of models in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from service.cluster.arguments import ClusterArguments
from service.cluster.ingress_replica import Fellows, IngressReplica
from service.cluster.model_replica import ModelReplica
from service.cluster.replicas import Description, Refused
from service.engine import Engine
from service.errors import NotReadyError, RefusedModelError, UnavailableError
from service.processes.metrics_merge import read_families
from service.runtime.change import Change
from service.runtime.job import Outputs, Tensor
from service.settings import Settings
from tests.images import plain
from tests.servables import write_servable

pytestmark = pytest.mark.anyio

RELOAD = {"kind": "reload"}


class LocalReplicas:
    """A replica of a model that runs on this loop; see `Replicas`."""

    def __init__(self, replica: ModelReplica, loop: asyncio.AbstractEventLoop) -> None:
        self._replica = replica
        self._loop = loop

    def describe(self, timeout_seconds: float) -> Description | Refused:
        assert timeout_seconds > 0
        return self._replica.describe()

    def infer(self, batch: Tensor, timeout_seconds: float) -> Outputs | Refused:
        running = asyncio.run_coroutine_threadsafe(self._replica.infer(batch), self._loop)
        return running.result(timeout_seconds)


class LocalCluster:
    """A coordinator whose only member is the replica that is tested; see `FromCoordinator`.

    Attributes:
        is_gone: whether it does not answer.
        revision: of the models.
        models: the replica of each model that was placed, by the name of its application.
        beats: what the member held at each beat.
        left: what the member said when it left.
        outcome: of a change.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_gone = False
        self.revision = 0
        self.models: dict[str, ModelReplica] = {}
        self.beats: asyncio.Queue[list[str]] = asyncio.Queue()
        self.left: list[tuple[str, bytes]] = []
        self.outcome: dict[str, Any] | Refused = {}
        self._loop = asyncio.get_running_loop()

    def _require(self) -> None:
        if self.is_gone:
            raise UnavailableError("The coordinator does not answer.")

    async def join(self, member: str) -> dict[str, Any]:
        assert member == "one"
        self._require()
        return {"revision": self.revision, "overrides": None}

    async def beat(self, member: str, holds: list[str]) -> int:
        assert member == "one"
        self.beats.put_nowait(holds)
        self._require()
        return self.revision

    async def leave(self, member: str, families: bytes) -> None:
        self._require()
        self.left.append((member, families))

    async def change(self, change: dict[str, Any]) -> dict[str, Any] | Refused:
        assert change["kind"] == "reload"
        return self.outcome

    async def exposition(self) -> bytes:
        self._require()
        return self.left[-1][1]

    async def not_ready(self) -> list[str]:
        self._require()
        return ["two: colors is loading"]

    def place(self, member: str, name: str, version: int, digest: str) -> str:
        assert member == "one"
        app = f"app-{name}-{version}"
        replica = ModelReplica(self.settings, (name, version), digest, app)
        asyncio.run_coroutine_threadsafe(replica.load(), self._loop).result(30)
        self.models[app] = replica
        return app

    def replicas_of(self, app: str) -> LocalReplicas:
        return LocalReplicas(self.models[app], self._loop)


@pytest.fixture
async def cluster(repository: Path, tmp_path: Path) -> AsyncIterator[LocalCluster]:
    settings = Settings(
        models=repository, cache=tmp_path / "cache", threads=1, trial=False, device="cpu"
    )
    made = LocalCluster(settings)
    yield made
    for replica in made.models.values():
        await replica.close()


@asynccontextmanager
async def opened(cluster: LocalCluster) -> AsyncIterator[tuple[IngressReplica, Engine]]:
    """Give a replica of the ingress whose models are loaded, and its engine."""
    replica = IngressReplica(
        cluster.settings,
        ClusterArguments(max_replicas=2),
        "one",
        coordinator=cluster,
        replicas_of=cluster.replicas_of,
        beat_seconds=0.01,
    )
    engine = await replica.open()
    async with engine.running():
        await engine.loaded.wait()
        yield replica, engine


def versions(engine: Engine) -> list[int]:
    return sorted(
        model.servable.version for model in engine.registry.models if model.state == "ready"
    )


async def test_its_batches_run_in_the_replicas_of_a_model(cluster: LocalCluster) -> None:
    async with opened(cluster) as (replica, engine):
        answers = await engine.predict("classify", [plain("red"), plain("blue")])
        assert [one["predictions"][0]["label"] for one in answers] == ["red", "blue"]
        assert replica.not_ready() == ("one", [])
        async with replica.taking_part():
            assert await cluster.beats.get() == ["app-colors-1"]
    (model,) = cluster.models.values()
    (batches,) = [one for one in read_families(model.report()[1]) if one.name == "foveal_batches"]
    assert sum(sample.value for sample in batches.samples) >= 1


async def test_it_reports_images_and_no_batches(cluster: LocalCluster) -> None:
    async with opened(cluster) as (replica, engine):
        await replica.leave()
        await engine.predict("classify", [plain("red")])
        await replica.leave()
    (one, before), (other, after) = cluster.left
    assert (one, other) == ("one", "one")
    assert answered(after) - answered(before) == 1
    assert "foveal_batches" not in {family.name for family in read_families(after)}


def answered(families: bytes) -> float:
    """Return how many images a report counts as answered."""
    return sum(
        sample.value
        for family in read_families(families)
        for sample in family.samples
        if sample.name == "foveal_images_total" and sample.labels["outcome"] == "answered"
    )


async def test_a_change_happens_when_it_is_committed_and_only_once(
    cluster: LocalCluster, repository: Path
) -> None:
    async with opened(cluster) as (replica, engine):
        write_servable(repository, version=2)
        _, answer = await replica.prepare("a", RELOAD)
        assert isinstance(answer, dict)
        assert answer["failures"] == []
        assert versions(engine) == [1]
        _, report = await replica.commit("a", 1)
        assert report is not None
        assert report["loaded"] == ["colors:2"]
        assert versions(engine) == [1, 2]
        assert await replica.commit("a", 2) == ("one", None)
        await replica.drop("a")
        assert versions(engine) == [1, 2]


async def test_a_change_that_is_dropped_has_changed_nothing_and_lets_the_next_one_in(
    cluster: LocalCluster, repository: Path
) -> None:
    async with opened(cluster) as (replica, engine):
        path = write_servable(repository, version=2)
        await replica.prepare("a", RELOAD)
        await replica.drop("a")
        assert versions(engine) == [1]
        path.unlink()
        _, answer = await replica.prepare("b", RELOAD)
        assert isinstance(answer, dict)
        assert await replica.commit("a", 1) == ("one", None)
        _, report = await replica.commit("b", 1)
        assert report is not None
        assert report["loaded"] == []


async def test_what_it_can_not_prepare_is_refused(cluster: LocalCluster) -> None:
    async with opened(cluster) as (replica, engine):
        name, answer = await replica.prepare("a", {"kind": "load_model", "name": "nothing"})
        assert name == "one"
        assert isinstance(answer, Refused)
        assert "nothing" in answer.detail
        assert await replica.commit("a", 1) == ("one", None)
        assert versions(engine) == [1]


async def test_it_does_without_a_version_that_another_replica_could_not_load(
    cluster: LocalCluster, repository: Path
) -> None:
    async with opened(cluster) as (replica, engine):
        write_servable(repository, version=2)
        await replica.prepare("a", RELOAD)
        _, answer = await replica.do_without("a", [(("colors", 2), "two: it is broken")])
        assert isinstance(answer, dict)
        _, report = await replica.commit("a", 1)
        assert report is not None
        assert report["loaded"] == []
        assert versions(engine) == [1]
        _, late = await replica.do_without("a", [])
        assert isinstance(late, Refused)
        assert late.code == "unavailable"


async def test_it_starts_again_where_the_models_changed_while_it_loaded(
    cluster: LocalCluster,
) -> None:
    async with opened(cluster) as (replica, _):
        await replica.require_joined()
        cluster.revision = 1
        with pytest.raises(NotReadyError, match="while this replica loaded"):
            await replica.require_joined()


async def test_it_is_replaced_when_it_has_missed_a_change(cluster: LocalCluster) -> None:
    async with opened(cluster) as (replica, _), replica.taking_part():
        await beats(cluster)
        replica.require_current()
        cluster.revision = 1
        await beats(cluster)
        with pytest.raises(NotReadyError, match="missed a change"):
            replica.require_current()


async def test_a_change_that_is_prepared_is_not_missed(
    cluster: LocalCluster, repository: Path
) -> None:
    async with opened(cluster) as (replica, _), replica.taking_part():
        write_servable(repository, version=2)
        await replica.prepare("a", RELOAD)
        cluster.revision = 1
        await beats(cluster)
        replica.require_current()
        await replica.commit("a", 1)
        await beats(cluster)
        replica.require_current()


async def beats(cluster: LocalCluster) -> None:
    """Return when the member has taken notice of two answers that follow."""
    while not cluster.beats.empty():
        cluster.beats.get_nowait()
    for _ in range(4):
        await cluster.beats.get()


async def test_a_coordinator_that_does_not_answer_ends_nothing(cluster: LocalCluster) -> None:
    async with opened(cluster) as (replica, engine), replica.taking_part():
        cluster.is_gone = True
        await beats(cluster)
        await replica.leave()
        fellows = Fellows(replica, cluster)
        assert await fellows.not_ready() == []
        with pytest.raises(UnavailableError):
            await fellows.exposition(generate_latest)
        assert await engine.predict("classify", [plain("green")])
        cluster.is_gone = False
        await beats(cluster)
        replica.require_current()


async def test_it_reports_on_all_replicas(cluster: LocalCluster) -> None:
    async with opened(cluster) as (replica, _):
        fellows = Fellows(replica, cluster)
        assert await fellows.not_ready() == ["two: colors is loading"]
        await replica.leave()
        text = await fellows.exposition(generate_latest)
        assert b'foveal_replicas{model="",version=""} 1.0' in text


async def test_a_change_of_all_is_a_report_or_the_error_of_the_one_that_refused(
    cluster: LocalCluster,
) -> None:
    async with opened(cluster) as (replica, _):
        fellows = Fellows(replica, cluster)
        cluster.outcome = {"loaded": ["colors:2"]}
        assert (await fellows.change(Change(kind="reload"))).loaded == ["colors:2"]
        cluster.outcome = Refused.of(RefusedModelError("two: no such file"))
        with pytest.raises(RefusedModelError, match="no such file"):
            await fellows.change(Change(kind="reload"))
