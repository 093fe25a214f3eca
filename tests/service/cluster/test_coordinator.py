"""The coordinator before a cluster that is made of values."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import Metric

from service.cluster.coordinator import FRESH_SECONDS, GONE_SECONDS, SILENT_SECONDS, Coordinator
from service.cluster.fleet_state import Placement
from service.cluster.replicas import Refused
from service.errors import RefusedModelError
from service.processes.metrics_merge import read_families, write_families

pytestmark = pytest.mark.anyio

REPORT = {"loaded": ["a:2"], "removed": [], "refused": {}, "plans": {}, "defaults": {}, "drained": True}  # fmt: skip


class FakeCluster:
    """Remembers what is asked of it, and answers as given; what was written survives a coordinator."""

    def __init__(self) -> None:
        self.kept = b""
        self.apps: list[str] = []
        self.answers: dict[str, list[Any]] = {}
        self.model_answers: list[Any] = []
        self.asked: list[tuple[Any, ...]] = []

    def read(self) -> bytes:
        return self.kept

    def write(self, state: bytes) -> None:
        self.kept = state

    def forget(self) -> None:
        self.kept = b""

    def deploy(self, placement: Placement) -> None:
        self.apps.append(placement.app)

    def delete(self, app: str) -> None:
        self.apps.remove(app)

    async def ask_ingress(self, method: str, *given: Any, timeout_seconds: float) -> list[Any]:
        assert timeout_seconds > 0
        self.asked.append((method, *given))
        return self.answers.get(method, [])

    async def ask_model(self, app: str, method: str, *, timeout_seconds: float) -> list[Any]:
        assert (method, app in self.apps, timeout_seconds > 0) == ("report", True, True)
        return self.model_answers


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counted(value: float, gauge: float = 1) -> bytes:
    registry = CollectorRegistry()
    Counter("answers", "", registry=registry).inc(value)
    Gauge("replicas", "", registry=registry).set(gauge)
    return write_families(registry.collect())


def values(families: bytes) -> dict[str, float]:
    found: list[Metric] = read_families(families)
    return {
        sample.name: sample.value
        for one in found
        for sample in one.samples
        if not sample.name.endswith("_created")
    }


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def coordinator(cluster: FakeCluster, time: Time) -> Coordinator:
    made = Coordinator(cluster, clock=time)
    await made.start()
    return made


async def test_all_ingress_replicas_share_the_replicas_of_a_model(
    coordinator: Coordinator, cluster: FakeCluster
) -> None:
    first = await coordinator.place("one", "a", 1, "digest")
    assert await coordinator.place("two", "a", 1, "digest") == first
    assert await coordinator.place("two", "a", 1, "another file") != first
    assert len(cluster.apps) == 2


async def test_replicas_end_when_no_ingress_replica_holds_them(
    coordinator: Coordinator, cluster: FakeCluster, time: Time
) -> None:
    app = await coordinator.place("one", "a", 1, "digest")
    await coordinator.place("two", "a", 1, "digest")
    time.now += SILENT_SECONDS + FRESH_SECONDS
    await coordinator.beat("two", [app])
    await coordinator.beat("one", [])
    assert cluster.apps == [app]
    await coordinator.beat("two", [])
    assert cluster.apps == []


async def test_what_a_silent_ingress_replica_held_is_let_go(
    coordinator: Coordinator, cluster: FakeCluster, time: Time
) -> None:
    await coordinator.place("one", "a", 1, "digest")
    time.now += SILENT_SECONDS + FRESH_SECONDS
    await coordinator.beat("two", [])
    assert cluster.apps == []


async def test_the_next_coordinator_goes_on_with_what_the_last_one_knew(
    coordinator: Coordinator, cluster: FakeCluster, time: Time
) -> None:
    app = await coordinator.place("one", "a", 1, "digest")
    cluster.answers["report"] = [("one", counted(3)), ("two", counted(4))]
    await coordinator.exposition()
    cluster.answers["report"] = [("two", counted(4))]
    await coordinator.exposition()
    following = Coordinator(cluster, clock=time)
    await following.start()
    assert await following.place("one", "a", 1, "digest") == app
    assert values(await following.exposition()) == {"answers_total": 7, "replicas": 1}
    time.now += 1
    await following.beat("two", [])  # the others may not have said yet what they hold
    assert cluster.apps == [app]


async def test_a_counter_never_falls_when_replicas_come_and_go(
    coordinator: Coordinator, cluster: FakeCluster, time: Time
) -> None:
    cluster.answers["report"] = [("one", counted(3)), ("two", counted(4))]
    assert values(await coordinator.exposition()) == {"answers_total": 7, "replicas": 2}
    cluster.answers["report"] = [("two", counted(5)), TimeoutError()]
    assert values(await coordinator.exposition()) == {"answers_total": 8, "replicas": 1}
    time.now += GONE_SECONDS + 1
    await coordinator.exposition()
    await coordinator.leave("two", counted(6))
    cluster.answers["report"] = [("three", counted(1))]
    assert values(await coordinator.exposition()) == {"answers_total": 10, "replicas": 1}


async def test_what_the_replicas_of_models_count_is_counted_too(
    coordinator: Coordinator, cluster: FakeCluster
) -> None:
    await coordinator.place("one", "a", 1, "digest")
    cluster.answers["report"] = [("one", counted(3))]
    cluster.model_answers = [("a 1 x", counted(2)), ("a 1 y", counted(2))]
    assert values(await coordinator.exposition()) == {"answers_total": 7, "replicas": 3}


def prepared(*failures: tuple[tuple[str, int], str]) -> dict[str, Any]:
    return {"failures": list(failures), "overrides": {"loaded": []}}


async def test_a_change_that_all_prepared_happens_in_all(
    coordinator: Coordinator, cluster: FakeCluster
) -> None:
    cluster.answers = {
        "prepare": [("one", prepared()), ("two", prepared())],
        "commit": [("one", REPORT), ("two", {**REPORT, "drained": False})],
    }
    report = await coordinator.change({"kind": "reload"})
    assert isinstance(report, dict)
    assert (report["loaded"], report["drained"]) == (["a:2"], False)
    assert [one[0] for one in cluster.asked] == ["prepare", "commit"]
    joined = await coordinator.join("three")
    assert joined == {"revision": 1, "overrides": {"loaded": []}}
    assert await coordinator.beat("one", []) == 1


async def test_a_change_that_one_refuses_happens_in_none(
    coordinator: Coordinator, cluster: FakeCluster
) -> None:
    refusal = Refused.of(RefusedModelError("no such file"))
    cluster.answers = {"prepare": [("one", prepared()), ("two", refusal)]}
    answer = await coordinator.change({"kind": "reload"})
    assert answer == Refused("refused_model", "two: no such file")
    assert [one[0] for one in cluster.asked] == ["prepare", "drop"]
    assert (await coordinator.join("three"))["revision"] == 0


async def test_all_do_without_what_one_can_not_load(
    coordinator: Coordinator, cluster: FakeCluster
) -> None:
    failure = (("a", 2), "it is broken")
    cluster.answers = {
        "prepare": [("one", prepared()), ("two", prepared(failure))],
        "do_without": [("one", prepared(failure)), ("two", prepared(failure))],
        "commit": [("one", REPORT)],
    }
    assert isinstance(await coordinator.change({"kind": "reload"}), dict)
    asked = {one[0]: one[2] for one in cluster.asked}
    assert asked["do_without"] == [(("a", 2), "two: it is broken")]


async def test_a_replica_that_dies_meanwhile_is_no_reason_against_a_change(
    coordinator: Coordinator, cluster: FakeCluster
) -> None:
    cluster.answers = {
        "prepare": [("one", prepared()), RuntimeError("the actor died")],
        "commit": [("one", REPORT), RuntimeError("the actor died")],
    }
    assert isinstance(await coordinator.change({"kind": "reload"}), dict)


@pytest.mark.parametrize("answers", [[], [RuntimeError("died")], [TimeoutError()]])
async def test_a_change_that_nobody_prepares_changes_nothing(
    coordinator: Coordinator, cluster: FakeCluster, answers: list[Any]
) -> None:
    cluster.answers = {"prepare": answers}
    answer = await coordinator.change({"kind": "reload"})
    assert isinstance(answer, Refused)
    assert answer.code == "unavailable"
    assert await coordinator.beat("one", []) == 0


async def test_readiness_names_the_replica(coordinator: Coordinator, cluster: FakeCluster) -> None:
    cluster.answers = {"not_ready": [("one", ["a is loading"]), ("two", []), RuntimeError()]}
    assert await coordinator.not_ready() == [
        "one: a is loading",
        "a replica of the ingress does not answer",
    ]


async def test_the_end_of_the_service_ends_the_replicas_of_its_models(
    coordinator: Coordinator, cluster: FakeCluster
) -> None:
    await coordinator.place("one", "a", 1, "digest")
    await coordinator.close()
    assert (cluster.apps, cluster.kept) == ([], b"")
