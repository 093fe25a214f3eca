"""The registry on networks that a test holds and breaks; what makes a network of a file is tested in test_loading."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import (
    ConfigurationError,
    NoDefaultModelError,
    NotReadyError,
    ServableError,
    ShuttingDownError,
    UnknownModelError,
    UnknownVersionError,
    WrongTaskError,
)
from service.logs import LOGGER
from service.metrics import KEPT_VERSIONS, Metrics
from service.runtime.device import Device
from service.runtime.fleet import ModelPlan, Selector, parse_selector
from service.runtime.job import Job, JobResult
from service.runtime.loaded import Loaded
from service.runtime.model import Model
from service.runtime.opening import Batching, Opener
from service.runtime.registry import Registry
from service.runtime.repository import Refusal, Servable
from service.runtime.wanted import Wanted, key_of
from service.runtime.workers import Workers
from tests.samples import total
from tests.servables import color_card
from tests.service.runtime.clocks import ManualClock
from tests.service.runtime.networks import Loader, Network, servable

pytestmark = pytest.mark.anyio

GAUGES = ("foveal_model_ready", "foveal_queue_depth", "foveal_queue_capacity")


@dataclass
class House:
    registry: Registry
    loader: Loader
    metrics: Metrics

    async def add(self, one: Servable) -> Model:
        """Serve a version too; raise why it can not be."""
        now = self.registry.wanted
        wanted = replace(now, servables=tuple(sorted((*now.servables, one), key=key_of)))
        transition = await self.registry.prepare(wanted)
        if transition.failures:
            await self.registry.abort(transition)
            raise ServableError(*transition.failures.values())
        self.registry.commit(transition)
        return next(
            model for model in self.registry.models if key_of(model.servable) == key_of(one)
        )

    async def remove(self, name: str, version: int) -> None:
        """Serve a version no more, and return when it has drained."""
        now = self.registry.wanted
        left = tuple(model for model in now.servables if key_of(model) != (name, version))
        transition = await self.registry.prepare(replace(now, servables=left))
        drains = self.registry.commit(transition)
        if drains:
            await asyncio.wait(drains)

    async def ask(self, version: int | None = None, *, name: str = "colors") -> int:
        """Return which version answers."""
        model = self.registry.find(["classify"], name, version)
        job = Job(lambda: (np.zeros(1, np.uint8), None), lambda found, _: int(found["version"][0]))
        (outcome,) = await model.batcher.submit([job], timeout_seconds=9)
        assert isinstance(outcome, JobResult)
        return outcome.value

    def sample(self, metric: str, name: str = "colors", **labels: str) -> float | None:
        return total(self.metrics.registry, metric, model=name, **labels)

    def series(self) -> set[str]:
        """Return the gauges that name a model, with the name."""
        return {
            f"{sample.name} {sample.labels['model']}"
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name in {*GAUGES, "foveal_model_info"}
        }


@asynccontextmanager
async def house(
    *servables: Servable,
    refusals: Collection[Refusal] = (),
    defaults: Mapping[str, str] | None = None,
    networks: Mapping[str, Collection[str]] | None = None,
    plans: Mapping[str, ModelPlan] | None = None,
    load: bool = True,
) -> AsyncIterator[House]:
    workers, loader, metrics = Workers(2, clock=ManualClock()), Loader(), Metrics()
    registry = Registry(
        Wanted(
            tuple(sorted(servables, key=key_of)),
            tuple(refusals),
            defaults={task: parse_selector(one) for task, one in (defaults or {}).items()},
            plans=plans or {},
        ),
        opener=Opener(
            device=Device("cpu"),
            open_model=loader,
            workers=workers,
            metrics=metrics,
            batching=Batching(capacity=8, max_delay_seconds=0.0),
            release_memory=loader.note_release,
            measure=int,
        ),
        networks=networks,
    )
    loader.gate.set()
    workers.start()
    try:
        if load:
            await registry.load()
        yield House(registry, loader, metrics)
    finally:
        loader.gate.set()
        await registry.close()
        await asyncio.to_thread(workers.stop)


async def test_models_are_loaded_in_turn_and_ready_when_their_check_succeeded() -> None:
    async with house(servable("a"), servable("b", 1), servable("b", 2), load=False) as h:
        assert h.registry.not_ready() == [
            "a version 1 is still loading",
            "b version 1 is still loading",
            "b version 2 is still loading",
        ]
        with pytest.raises(NotReadyError, match="b version 2 is still loading"):
            _ = h.registry.find(["classify"], "b", None).batcher
        await h.registry.load()
        assert h.registry.not_ready() == []
        assert h.loader.loaded == [("a", 1), ("b", 1), ("b", 2)]
        assert [model.batcher.batches_run for model in h.registry.models] == [1, 1, 1]
        assert h.registry.device.name == "cpu"


async def test_an_empty_repository_is_not_ready() -> None:
    async with house() as h:
        assert h.registry.not_ready() == ["the model repository is empty"]


async def test_a_model_that_can_not_be_loaded_is_named_and_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with house(servable("bad", 7), servable("good"), load=False) as h:
        h.loader.refuses = {7}
        with caplog.at_level(logging.ERROR):
            await h.registry.load()
        assert h.registry.not_ready() == ["bad version 7 failed to load: no room on the device"]
        assert await h.ask(name="good") == 1
        assert h.sample("foveal_model_info", "bad") is None
    assert "bad is not served: no room on the device" in caplog.text


async def test_a_file_that_can_not_be_served_is_logged_and_keeps_the_service_from_being_ready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusal = Refusal("bare", Path("bare"), "bare: it carries no card")
    async with house(servable(), refusals=[refusal]) as h:
        assert h.registry.not_ready() == ["bare: it carries no card"]
    assert "refused: bare: it carries no card" in caplog.text


async def test_models_stand_by_name_and_version() -> None:
    async with house(servable("b"), servable("a", 2)) as h:
        await h.add(servable("a", 10))
        await h.add(servable("a", 9))
        found = [(model.name, model.version) for model in h.registry.models]
        assert found == [("a", 2), ("a", 9), ("a", 10), ("b", 1)]
        assert [model.version for model in h.registry.versions("a")] == [2, 9, 10]


async def test_the_newest_ready_version_answers_or_the_one_that_is_named() -> None:
    async with house(servable(version=1), servable(version=2), load=False) as h:
        h.loader.breaks = {2}
        await h.registry.load()
        assert await h.ask() == 1
        h.loader.networks["colors", 2].broken = False
        assert await h.ask(2) == 2
        with pytest.raises(UnknownVersionError, match=r"has no version 3\. Versions: 1, 2\."):
            h.registry.find(["classify"], "colors", 3)


async def test_without_a_name_the_default_of_the_first_task_that_has_one_answers() -> None:
    models = [servable("a"), servable("b"), servable("c", task="segment")]
    async with house(*models, defaults={"classify": "b"}) as h:
        assert h.registry.find(["classify"], None, None).name == "b"
        assert h.registry.find(["detect", "segment"], None, None).name == "c"
        assert h.registry.default_of("classify") == Selector("b")
        assert h.registry.default_of("detect") is None


async def test_where_several_models_do_a_task_and_none_is_its_default_a_request_must_name_one() -> (
    None
):
    async with house(servable("e"), servable("s", task="segment")) as h:
        assert h.registry.find(["classify"], None, None, task="classify").name == "e"
        await h.add(servable("d"))
        with pytest.raises(NoDefaultModelError, match=r"2 models do classify.*: d, e\. Name one"):
            h.registry.find(["classify"], None, None, task="classify")
        assert h.registry.default_of("classify") is None


async def test_a_change_of_what_answers_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with house(servable("e")) as h:
        with caplog.at_level(logging.WARNING):
            await h.add(servable("d"))
    assert (
        "requests for classify that name no model: answered by e before, now by none" in caplog.text
    )


async def test_a_task_that_borrows_networks_has_a_default_of_its_own() -> None:
    models = [servable("a"), servable("b"), servable("c", task="segment")]
    borrowed = ("classify", "segment")
    async with house(*models, defaults={"shade": "c"}, networks={"shade": borrowed}) as h:
        assert h.registry.find(borrowed, None, None, task="shade").name == "c"
        with pytest.raises(NoDefaultModelError, match="3 models do tint"):
            h.registry.find(borrowed, None, None, task="tint")
        with pytest.raises(NoDefaultModelError, match="2 models do classify"):
            h.registry.find(["classify"], None, None, task="classify")
    async with house(*models, defaults={"classify": "b"}, networks={"shade": borrowed}) as h:
        assert h.registry.find(borrowed, None, None, task="shade").name == "b"
    with pytest.raises(ConfigurationError, match=r"of shade is 'd', .* for shade: a, b, c\."):
        async with house(*models, defaults={"shade": "d"}, networks={"shade": borrowed}):
            pass


@pytest.mark.parametrize("defaults", [{"classify": "nothing"}, {"segment": "colors"}])
async def test_a_default_that_names_no_model_for_its_task_stops_the_start(
    defaults: dict[str, str],
) -> None:
    ((task, name),) = defaults.items()
    able = {"classify": "colors", "segment": "none"}[task]
    reason = f"default of {task} is '{name}', which does not do it .*Models for {task}: {able}."
    with pytest.raises(ConfigurationError, match=reason):
        async with house(servable(), defaults=defaults):
            pass


async def test_what_is_not_there_is_named_with_what_is() -> None:
    async with house(servable("a"), servable("b"), servable("c", task="segment")) as h:
        with pytest.raises(
            UnknownModelError, match=r"no model 'paints'\. This task's models: a, b\."
        ):
            h.registry.find(["classify"], "paints", None)
        with pytest.raises(
            UnknownModelError, match=r"no model for detect or embed\. .*models: none"
        ):
            h.registry.find(["embed", "detect"], None, None)
        with pytest.raises(WrongTaskError, match="a does classify, not detect or segment"):
            h.registry.find(["segment", "detect"], "a", None)
        with pytest.raises(UnknownModelError, match=r"no model 'paints'\. Models: a, b, c\."):
            h.registry.versions("paints")


async def test_a_temporal_head_finds_the_backbone_that_it_was_trained_with() -> None:
    def with_digest(version: int, digest: str) -> Servable:
        proof = color_card().certificate.model_copy(update={"graph_sha256": digest * 64})
        return servable("glance", version, certificate=proof)

    models = [with_digest(1, "a"), with_digest(2, "a"), with_digest(3, "b")]
    async with house(*models, servable("head", backbone="glance", backbone_sha256="a" * 64)) as h:
        (head,) = h.registry.versions("head")
        assert h.registry.backbone_of(head).version == 2
        await h.remove("glance", 2)
        assert h.registry.backbone_of(head).version == 1
        await h.remove("glance", 1)
        with pytest.raises(NotReadyError, match="head reads the features of glance"):
            h.registry.backbone_of(head)


async def test_an_added_version_takes_the_traffic_once_it_is_proved_and_not_before() -> None:
    async with house(servable(version=1)) as h:
        h.loader.gate.clear()
        adding = asyncio.create_task(h.add(servable(version=2)))
        for _ in range(2):  # the first of them was at the start
            await h.loader.has_begun()
        assert await h.ask() == 1
        assert h.registry.not_ready() == []
        assert [model.version for model in h.registry.versions("colors")] == [1]
        h.loader.gate.set()
        assert (await adding).state == "ready"
        assert await h.ask() == 2


@pytest.mark.parametrize("fault", ["refuses", "breaks"])
async def test_nothing_is_left_of_an_added_version_that_fails(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(servable(version=1)) as h:
        before = h.series()
        setattr(h.loader, fault, {2})
        expected = {"refuses": "no room on the device", "breaks": "did not answer"}[fault]
        with caplog.at_level(logging.CRITICAL, LOGGER):  # pytest keeps records, these the network
            for name in ("colors", "new"):
                with pytest.raises((ServableError, NotReadyError), match=expected):
                    await h.add(servable(name, 2))
                if fault == "breaks":
                    await h.loader.has_freed_a_network()
        assert [model.version for model in h.registry.models] == [1]
        assert h.series() == before


async def test_an_adding_that_is_cancelled_leaves_nothing_and_the_next_one_works() -> None:
    async with house() as h:
        h.loader.gate.clear()
        adding = asyncio.create_task(h.add(servable()))
        await h.loader.has_begun()
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert h.registry.models == ()
        h.loader.gate.set()
        await h.add(servable())
        assert await h.ask() == 1


async def test_models_are_never_loaded_at_the_same_time() -> None:
    async with house(servable("a"), load=False) as h:
        h.loader.gate.clear()
        loading = asyncio.create_task(h.registry.load())
        await h.loader.has_begun()
        adding = asyncio.create_task(h.add(servable("b")))
        await asyncio.sleep(0)
        assert h.loader.loaded == [("a", 1)]
        h.loader.gate.set()
        await asyncio.gather(loading, adding)
        assert h.loader.loaded == [("a", 1), ("b", 1)]


async def test_a_version_that_is_served_is_not_loaded_again() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        served = h.registry.models
        await h.add(servable(version=3))
        assert h.registry.models[:2] == served
        assert h.loader.loaded == [("colors", 1), ("colors", 2), ("colors", 3)]


async def test_another_file_of_a_version_takes_its_place_and_no_request_fails() -> None:
    async with house(servable()) as h:
        former = h.registry.find(["classify"], None, None)
        now = h.registry.wanted
        changed = servable(title="another network")
        transition = await h.registry.prepare(replace(now, servables=(changed,)))
        assert h.registry.find(["classify"], None, None) is former
        (drain,) = h.registry.commit(transition)
        assert h.registry.find(["classify"], None, None).card.title == "another network"
        assert await h.ask() == 1
        await drain
        assert former.queue is None
        assert h.sample("foveal_model_ready") == 1


async def test_a_file_of_a_version_that_can_not_be_loaded_leaves_the_one_that_is_served() -> None:
    async with house(servable()) as h:
        served = h.registry.find(["classify"], None, None)
        h.loader.refuses = {1}
        changed = replace(h.registry.wanted, servables=(servable(title="another network"),))
        transition = await h.registry.prepare(changed)
        assert transition.failures == {("colors", 1): "no room on the device"}
        assert h.registry.commit(transition) == []
        assert h.registry.find(["classify"], None, None) is served
        assert await h.ask() == 1


async def test_a_version_that_came_later_and_can_not_be_loaded_is_named_and_takes_no_readiness() -> (
    None
):
    async with house(servable(version=1)) as h:
        h.loader.refuses = {2, 3}
        wanted = replace(
            h.registry.wanted, servables=(servable(), servable(version=2), servable("new", 3))
        )
        h.registry.commit(await h.registry.prepare(wanted))
        assert [(one.version, one.state) for one in h.registry.models] == [
            (1, "ready"),
            (2, "failed"),
            (3, "failed"),
        ]
        assert h.registry.models[1].reason == "failed to load: no room on the device"
        assert h.registry.not_ready() == []
        assert await h.ask() == 1
        assert h.sample("foveal_model_changes_total", change="refused") == 1


async def test_a_request_that_has_found_a_version_is_answered_although_it_is_removed_meanwhile() -> (
    None
):
    async with house(servable(version=1), servable(version=2)) as h:
        found = h.registry.find(["classify"], None, None)
        lease = found.lease
        removing = asyncio.create_task(h.remove("colors", 2))
        while len(h.registry.models) == 2:
            await asyncio.sleep(0)
        assert await h.ask() == 1
        job = Job(lambda: (np.zeros(1, np.uint8), None), lambda out, _: int(out["version"][0]))
        (outcome,) = await found.batcher.submit([job], timeout_seconds=9)
        assert isinstance(outcome, JobResult)
        assert outcome.value == 2
        assert not removing.done()
        assert lease is not None
        del lease
        await removing
        assert found.queue is None


async def test_after_closing_nothing_is_added() -> None:
    async with house() as h:
        await h.registry.close()
        with pytest.raises(ShuttingDownError):
            await h.add(servable())
        assert h.loader.loaded == []


async def test_a_removed_version_gets_no_new_request_and_answers_what_it_has_accepted() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        network = h.loader.networks["colors", 2]
        await network.has_entered()  # the check at its start
        network.gate.clear()
        accepted = asyncio.create_task(h.ask())
        await network.has_entered()
        queued = asyncio.create_task(h.ask(2))
        while not h.registry.find(["classify"], "colors", 2).batcher.depth:
            await asyncio.sleep(0)
        removing = asyncio.create_task(h.remove("colors", 2))
        await asyncio.sleep(0)
        assert await h.ask() == 1
        with pytest.raises(UnknownVersionError):
            await h.ask(2)
        assert not removing.done()
        network.gate.set()
        assert [await accepted, await queued] == [2, 2]
        await removing


async def test_a_removal_that_is_cancelled_goes_on_and_closing_waits_for_it() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        network = h.loader.networks["colors", 2]
        await network.has_entered()
        network.gate.clear()
        accepted = asyncio.create_task(h.ask())
        await network.has_entered()
        removing = asyncio.create_task(h.remove("colors", 2))
        await asyncio.sleep(0)
        removing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await removing
        closing = asyncio.create_task(h.registry.close())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not closing.done()
        network.gate.set()
        del network
        await closing
        assert await accepted == 2
        for _ in range(2):
            await h.loader.has_freed_a_network()
        assert not h.loader.networks, "closing lets all of them go"


async def test_a_version_that_is_loaded_after_closing_is_not_started() -> None:
    async with house() as h:
        h.loader.gate.clear()
        adding = asyncio.create_task(h.add(servable()))
        await h.loader.has_begun()
        await h.registry.close()
        h.loader.gate.set()
        with pytest.raises(ShuttingDownError):
            await adding
        assert h.registry.models == ()


async def test_a_request_that_found_a_version_before_it_was_removed_is_refused_with_the_reason() -> (
    None
):
    async with house(servable()) as h:
        model = h.registry.find(["classify"], None, None)
        await h.remove("colors", 1)
        with pytest.raises(NotReadyError, match="colors version 1 was removed"):
            _ = model.batcher


async def test_nothing_holds_the_memory_of_a_removed_version() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        assert await h.ask() == 2
        model = h.registry.find(["classify"], None, None)
        gc.collect()
        assert not h.loader.freed.acquire(blocking=False)
        await h.remove("colors", 2)
        await h.loader.has_freed_a_network()
        assert list(h.loader.networks) == [("colors", 1)]
        assert len(h.loader.alive_at_release) == 1
        assert model.state == "failed", "whoever holds the model still, does not hold its network"
        assert await h.ask() == 1


async def test_nothing_holds_a_removed_version_itself() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        await h.registry.health.make_round()
        freed = threading.Event()
        weakref.finalize(h.registry.find(["classify"], None, 2), freed.set)
        await h.remove("colors", 2)
        gc.collect()
        assert await asyncio.to_thread(freed.wait, 10)


async def test_a_removed_version_can_be_added_again() -> None:
    async with house(servable()) as h:
        await h.remove("colors", 1)
        with pytest.raises(UnknownModelError):
            h.registry.find(["classify"], "colors", None)
        await h.add(servable())
        assert await h.ask() == 1


async def test_a_version_that_is_removed_while_it_loads_is_gone_once_it_is_loaded() -> None:
    async with house(servable("a"), servable("b"), servable("c"), load=False) as h:
        h.loader.gate.clear()
        loading = asyncio.create_task(h.registry.load())
        await h.loader.has_begun()
        removing = [asyncio.create_task(h.remove(name, 1)) for name in ("a", "b")]
        await asyncio.sleep(0)
        assert [model.name for model in h.registry.models] == ["c"]
        assert h.series() == {f"{gauge} c" for gauge in GAUGES}
        h.loader.gate.set()
        await asyncio.gather(loading, *removing)
        assert h.loader.loaded == [("a", 1), ("c", 1)], "b had not begun"
        assert h.series() == {f"{gauge} c" for gauge in (*GAUGES, "foveal_model_info")}
        await h.loader.has_freed_a_network()
        assert list(h.loader.networks) == [("c", 1)]


async def test_a_removed_version_is_checked_no_more() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        network = h.loader.networks["colors", 2]
        await h.remove("colors", 2)
        await network.has_entered()
        await h.registry.health.make_round()
        assert not network.entered.acquire(blocking=False)


async def test_the_gauges_show_the_versions_as_they_come_and_go() -> None:
    def gauges(version: str) -> list[float | None]:
        return [h.sample(gauge, version=version) for gauge in GAUGES]

    async with house(servable(version=1)) as h:
        assert gauges("1") == [1, 0, 8]
        h.loader.networks["colors", 1].broken = True
        await h.registry.health.make_round()
        assert gauges("1") == [0, 0, 8]
        await h.add(servable(version=2))  # which tries the other again
        assert (gauges("1"), gauges("2")) == ([1, 0, 8], [1, 0, 8])
        await h.remove("colors", 1)
        assert (gauges("1"), gauges("2")) == ([None] * 3, [1, 0, 8])
        await h.remove("colors", 2)
        assert h.series() == set()


async def test_the_depth_of_a_queue_counts_what_waits_for_its_version() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        networks = [h.loader.networks["colors", version] for version in (1, 2)]
        for network in networks:
            await network.has_entered()
            network.gate.clear()
        running = [asyncio.create_task(h.ask(version)) for version in (1, 2)]
        for network in networks:
            await network.has_entered()
        waiting = [asyncio.create_task(h.ask(version)) for version in (1, 2, 2)]
        await asyncio.sleep(0)
        depths = [h.sample("foveal_queue_depth", version=version) for version in ("1", "2")]
        assert depths == [1, 2]
        for network in networks:
            network.gate.set()
        await asyncio.gather(*running, *waiting)
        assert h.sample("foveal_queue_depth") == 0


async def test_the_info_of_a_version_comes_and_goes_with_it() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        labels = {"task": "classify", "precision": "fp32", "device": "cpu"}
        for version in ("1", "2"):
            assert h.sample("foveal_model_info", version=version, **labels) == 1
        await h.remove("colors", 1)
        assert h.sample("foveal_model_info", version="1", **labels) is None
        assert h.sample("foveal_model_info", version="2", **labels) == 1


async def test_each_version_counts_for_itself_and_goes_on_counting_after_a_return() -> None:
    def answered(version: str) -> float | None:
        return h.sample("foveal_images_total", version=version, outcome="answered")

    async with house(servable(version=1)) as h:  # each admission is a health check
        await h.ask()
        model = await h.add(servable(version=2))
        await h.ask()
        assert (answered("1"), answered("2")) == (2, 2)
        for version in (1, 2):
            await h.remove("colors", version)
        h.registry.series_of(model).macs.inc(0)  # whoever still explains it, may count
        await h.add(servable(version=2))
        assert (answered("1"), answered("2")) == (2, 3)
        assert h.sample("foveal_macs_total", version="2") == 3000


async def test_versions_that_come_and_go_leave_the_series_of_a_few() -> None:
    async with house(servable(version=1)) as h:
        for version in range(2, 3 * KEPT_VERSIONS):
            await h.add(servable(version=version))
            await h.ask()
            await h.remove("colors", version)
        counted = {
            sample.labels["version"]
            for family in h.metrics.registry.collect()
            for sample in family.samples
            if "version" in sample.labels and "model" in sample.labels
        }
        assert counted == {"1", *map(str, range(2 * KEPT_VERSIONS, 3 * KEPT_VERSIONS))}


async def test_closing_answers_what_was_accepted() -> None:
    async with house(servable()) as h:
        network = h.loader.networks["colors", 1]
        await network.has_entered()
        network.gate.clear()
        accepted = asyncio.create_task(h.ask())
        await network.has_entered()
        closing = asyncio.create_task(h.registry.close())
        for _ in range(2):  # it closes all queues together, each in a task of its own
            await asyncio.sleep(0)
        with pytest.raises(ShuttingDownError):
            await h.ask()
        assert not closing.done()
        network.gate.set()
        await closing
        assert await accepted == 1


class Oddities:
    """Opens a network by its name: one raises what is no error of ours, one is held, the others are loaded."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.opened: list[str] = []

    def __call__(self, one: Servable) -> Loaded:
        self.opened.append(one.name)
        if one.name.startswith("raises"):
            raise {"raises-a": ValueError, "raises-b": MemoryError, "raises-c": SystemExit}[
                one.name
            ]("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : idx=9 is out of bounds")
        if one.name == "held":
            assert self.gate.wait(10)
        return Loaded((Network(one.version),), 4, np.zeros(1, np.uint8))


@asynccontextmanager
async def odd_house(
    *names: str, add_seconds: float = 9.0, **options: Any
) -> AsyncIterator[tuple[Registry, Oddities]]:
    workers, opener = Workers(1, clock=ManualClock()), Oddities()
    registry = Registry(
        Wanted(tuple(servable(name) for name in names)),
        opener=Opener(
            device=Device("cpu"),
            open_model=opener,
            workers=workers,
            metrics=Metrics(),
            batching=Batching(capacity=8),
            release_memory=lambda: None,
            measure=int,
            add_seconds=add_seconds,
        ),
        **options,
    )
    workers.start()
    try:
        yield registry, opener
    finally:
        opener.gate.set()
        await registry.close()
        await asyncio.to_thread(workers.stop)


@pytest.mark.parametrize("name", ["raises-a", "raises-b", "raises-c"])
async def test_whatever_a_network_raises_the_next_one_is_loaded(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with odd_house(name, "then") as (registry, _):
        await registry.load()
        first, second = registry.models
        assert (first.state, second.state) == ("failed", "ready")
        assert first.reason.startswith("failed to load: ")
        assert "ONNXRuntimeError" not in first.reason
        assert registry.not_ready() == [f"{name} version 1 {first.reason}"]
    assert f"{name} is not served" in caplog.text


async def test_a_network_that_never_loads_does_not_keep_the_next_one_and_is_named() -> None:
    async with odd_house("held", "then", load_seconds=0.3) as (registry, opener):
        await registry.load()
        held, then = registry.models
        assert (held.state, then.state) == ("loading", "ready")
        assert registry.not_ready() == ["held version 1 has been loading for more than 0.3 s"]
        opener.gate.set()
        while held.state != "ready":
            await asyncio.sleep(0)
        assert registry.not_ready() == []


async def test_a_network_that_was_removed_while_it_loaded_late_is_not_served() -> None:
    async with odd_house("held", "then", load_seconds=0.3) as (registry, opener):
        await registry.load()
        held = registry.models[0]
        left = replace(registry.wanted, servables=(registry.models[1].servable,))
        drains = registry.commit(await registry.prepare(left))
        opener.gate.set()
        while any(thread.name == "foveal-load" for thread in threading.enumerate()):
            await asyncio.sleep(0)
        await asyncio.gather(*drains)
        assert (held.state, held.queue) == ("failed", None)
        assert [model.name for model in registry.models] == ["then"]


async def test_closing_does_not_wait_for_a_network_that_never_loads() -> None:
    async with odd_house("held", load_seconds=0.3) as (registry, _):
        await registry.load()
        await registry.close()
        assert any(thread.name == "foveal-load" for thread in threading.enumerate())


async def test_a_network_that_is_added_and_never_loads_is_refused() -> None:
    async with odd_house("then", add_seconds=0.01) as (registry, _):
        await registry.load()
        both = (servable("held"), *registry.wanted.servables)
        transition = await registry.prepare(replace(registry.wanted, servables=both))
        assert transition.failures == {("held", 1): "held version 1 did not load within 0.01 s."}
        assert [model.name for model in registry.models] == ["then"]


async def test_where_no_thread_lives_the_service_is_not_ready() -> None:
    workers = Workers(1, start_thread=lambda _: None)
    registry = Registry(
        Wanted(()),
        opener=Opener(
            device=Device("cpu"),
            open_model=Oddities(),
            workers=workers,
            metrics=Metrics(),
            batching=Batching(capacity=8),
        ),
    )
    assert registry.not_ready() == ["the model repository is empty"]
    workers.start()
    (reason,) = registry.not_ready()
    assert "the system gives no other one" in reason


async def test_where_no_thread_is_left_the_service_is_not_ready() -> None:
    registry = Registry(
        Wanted(()),
        opener=Opener(
            device=Device("cpu"),
            open_model=Oddities(),
            workers=Workers(0),
            metrics=Metrics(),
            batching=Batching(capacity=8),
        ),
    )
    assert "are in runs that do not end; restart the service" in registry.not_ready()[0]
