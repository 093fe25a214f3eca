"""Changes of what is served: each happens as a whole or not at all, and says what came of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from service.errors import (
    ConfigurationError,
    InvalidParameterError,
    ModelInUseError,
    NotReadyError,
    OverloadedError,
    RefusedModelError,
    UnknownModelError,
    UnknownVersionError,
)
from service.metrics import Metrics
from service.runtime.change import Change, ChangeReport
from service.runtime.change_turn import MOST_WAITING
from service.runtime.changes import Changes
from service.runtime.device import Device
from service.runtime.fleet import NO_FLEET, Fleet, Latest, ModelPlan, parse_selector
from service.runtime.opening import Batching, Opener
from service.runtime.registry import Registry
from service.runtime.repository import Refusal, Servable, any_version
from service.runtime.wanted import Catalog, choose
from service.runtime.workers import Workers
from tests.service.runtime.clocks import ManualClock
from tests.service.runtime.networks import Loader, servable

pytestmark = pytest.mark.anyio
GRAPH = "1" * 64


@dataclass
class House:
    """A registry and its changes, over a folder that is a value: `lies` is what lies there."""

    lies: Catalog
    registry: Registry
    changes: Changes
    loader: Loader

    def served(self) -> list[str]:
        return [f"{model.name}:{model.version}" for model in self.registry.models]

    def put(self, *servables: Servable, refusals: tuple[Refusal, ...] = ()) -> None:
        """Let other files lie in the folder."""
        self.lies = replace(self.lies, servables=servables, refusals=refusals)


@asynccontextmanager
async def house(
    *servables: Servable, fleet: Fleet | None = None, refuses: int = 0, budget_bytes: int = 0
) -> AsyncIterator[House]:
    lies = Catalog(servables, fleet=fleet or NO_FLEET)
    workers, loader = Workers(1, clock=ManualClock()), Loader(refuses={refuses})
    registry = Registry(
        choose(lies),
        opener=Opener(
            device=Device("cpu"),
            open_model=loader,
            workers=workers,
            metrics=Metrics(),
            batching=Batching(capacity=8),
            release_memory=loader.note_release,
            measure=int,
        ),
        budget_bytes=budget_bytes,
    )
    here = House(lies, registry, Changes(registry, lambda: here.lies, lies), loader)
    loader.gate.set()
    workers.start()
    try:
        await registry.load()
        yield here
    finally:
        loader.gate.set()
        await registry.close()
        await asyncio.to_thread(workers.stop)


def fleet(defaults: Mapping[str, str] | None = None, digest: int = 0, **plan: object) -> Fleet:
    """Return a `foveal.toml` with a section for `colors`."""
    models = {"colors": ModelPlan.model_validate(plan)} if plan else {}
    given = {task: parse_selector(one) for task, one in (defaults or {}).items()}
    return Fleet(defaults=given, models=models, digest=digest)


def refusal(version: int, name: str = "colors") -> Refusal:
    path = Path("models") / name / str(version) / "model.onnx"
    return Refusal(name, path, f"{path}: it carries no card")


async def test_a_list_of_versions_that_are_not_there_is_refused_and_nothing_changes() -> None:
    async with house(servable("colors", 1)) as h:
        h.lies = replace(h.lies, fleet=fleet(versions=[99]))
        with pytest.raises(RefusedModelError, match=r"versions 99 of 'colors'.*Versions: 1\."):
            await h.changes.change(Change(kind="reload"))
        assert h.served() == ["colors:1"]


async def test_the_log_names_a_listed_version_that_is_not_there_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with house(servable("colors", 1), fleet=fleet(versions=[1, 99])) as h:
        await h.changes.start()
        await h.changes.change(Change(kind="reload"))
        assert h.served() == ["colors:1"]
        assert caplog.text.count("lists version 99 of colors, which is not there") == 1


async def test_a_list_may_name_a_version_whose_file_is_refused() -> None:
    async with house(servable("colors", 1)) as h:
        h.put(servable("colors", 1), refusals=(refusal(99),))
        h.lies = replace(h.lies, fleet=fleet(versions=[99]))
        await h.changes.change(Change(kind="reload"))
        assert h.served() == []


async def test_the_file_of_the_last_version_of_a_list_is_not_removed() -> None:
    listed = fleet(versions=[1, 2])
    async with house(servable("colors", 1), servable("colors", 3), fleet=listed) as h:
        with pytest.raises(ModelInUseError, match=r"lists the versions \[1, 2\] of colors"):
            await h.changes.change(
                Change(kind="unload_version", name="colors", version=1, file=True)
            )
        await h.changes.change(Change(kind="unload_version", name="colors", version=3, file=True))
        assert h.served() == ["colors:1"]


async def test_a_reload_serves_what_lies_in_the_folder_then_and_says_what_came_of_it() -> None:
    async with house(servable("a"), servable("b")) as h:
        h.put(servable("b"), servable("c"), refusals=(refusal(2),))
        report = await h.changes.change(Change(kind="reload"))
        assert (report.loaded, report.removed, report.drained) == (["c:1"], ["a:1"], True)
        assert list(report.refused) == ["colors:2"]
        assert "it carries no card" in report.refused["colors:2"]
        assert h.served() == ["b:1", "c:1"]


def of_ten_bytes(folder: Path, name: str, version: int = 1) -> Servable:
    path = folder / f"{name}{version}"
    path.write_bytes(bytes(10))
    return replace(servable(name, version), path=path)


async def test_what_a_reload_brings_has_no_more_memory_than_all_models_may_hold(
    tmp_path: Path,
) -> None:
    made = [of_ten_bytes(tmp_path, name) for name in "abcde"]
    async with house(*made[:2], budget_bytes=20) as h:
        h.put(*made)
        report = await h.changes.change(Change(kind="reload"))
        assert report.loaded == ["c:1", "d:1", "e:1"]
        states = {model.name: model.state for model in h.registry.models}
        assert sorted(states.values()) == ["asleep", "asleep", "asleep", "ready", "ready"]
        assert states["e"] == "ready", "it was loaded last"
        assert h.registry.residence.held_bytes == 20
        (model,) = h.registry.versions("c")
        await model.awake(9)
        assert model.state == "ready"
        assert h.registry.residence.held_bytes == 20


async def test_what_was_loaded_for_a_change_that_does_not_happen_holds_nothing_any_more(
    tmp_path: Path,
) -> None:
    served, good, bad = (of_ten_bytes(tmp_path, *one) for one in (("a", 1), ("b", 1), ("b", 3)))
    async with house(served, budget_bytes=30, refuses=3) as h:
        h.put(served, good, bad)
        with pytest.raises(RefusedModelError, match="no room on the device"):
            await h.changes.change(Change(kind="load_model", name="b"))
        assert h.served() == ["a:1"]
        assert h.registry.residence.held_bytes == 10


async def test_a_file_that_is_broken_now_goes_on_being_served() -> None:
    one = servable("colors", 1)
    async with house(one, servable("other")) as h:
        h.put(servable("other"), refusals=(Refusal("colors", one.path, "it is cut short"),))
        report = await h.changes.change(Change(kind="reload"))
        assert report.removed == []
        assert "it is cut short" in report.refused.popitem()[1]
        assert h.served() == ["colors:1", "other:1"]


async def test_models_whose_folder_can_not_be_read_go_on_being_served() -> None:
    one, two = servable("colors", 1), servable("colors", 2)
    async with house(one, two, servable("other")) as h:
        before = h.served()
        away = Refusal("colors", any_version(one.path.parent.parent), "it can not be read")
        h.put(servable("other"), refusals=(away,))
        report = await h.changes.change(Change(kind="reload"))
        assert (report.removed, report.refused) == ([], {"colors:*": "it can not be read"})
        assert h.served() == before
        h.put(two, servable("other"))
        report = await h.changes.change(Change(kind="reload"))
        assert report.removed == ["colors:1"]


async def test_a_call_for_one_model_leaves_what_else_has_changed_in_the_folder() -> None:
    async with house(servable("a")) as h:
        h.put(servable("a"), servable("b"), servable("c"))
        report = await h.changes.change(Change(kind="load_version", name="b", version=1))
        assert report.loaded == ["b:1"]
        assert h.served() == ["a:1", "b:1"]


async def test_a_version_that_can_not_be_loaded_changes_nothing() -> None:
    async with house(servable(version=1), refuses=2) as h:
        before = h.changes.overrides
        h.put(servable(version=1), servable(version=2))
        with pytest.raises(RefusedModelError, match="colors version 2: no room on the device"):
            await h.changes.change(Change(kind="load_version", name="colors", version=2))
        assert h.served() == ["colors:1"]
        assert h.changes.overrides is before


async def test_a_reload_serves_an_older_version_in_the_place_of_one_that_can_not_be_loaded() -> (
    None
):
    async with house(servable(version=1), fleet=fleet(versions=Latest(count=1)), refuses=3) as h:
        h.put(servable(version=1), servable(version=2), servable(version=3))
        report = await h.changes.change(Change(kind="reload"))
        assert report.loaded == ["colors:2"]
        assert report.refused == {"colors:3": "no room on the device"}
        assert h.registry.find(["classify"], "colors", None).version == 2


async def test_at_the_start_too_an_older_version_is_served_in_its_place() -> None:
    newest = fleet(versions=Latest(count=1))
    async with house(servable(version=1), servable(version=2), fleet=newest, refuses=2) as h:
        assert h.served() == ["colors:2"]
        await h.changes.start()
        assert h.served() == ["colors:1", "colors:2"]
        assert h.registry.not_ready() == []


async def test_what_is_prepared_and_not_committed_has_changed_nothing() -> None:
    async with house(servable(version=1)) as h:
        h.put(servable(version=1), servable(version=2))
        async with h.changes.prepared(Change(kind="reload")):
            assert h.loader.loaded == [("colors", 1), ("colors", 2)]
        assert h.served() == ["colors:1"]
        await (
            h.loader.has_freed_a_network()
        )  # the thread that loaded it may hold it a moment longer
        assert list(h.loader.networks) == [("colors", 1)]


async def test_versions_that_another_process_could_not_load_are_left_out() -> None:
    async with house(servable(version=1)) as h:
        h.put(servable(version=1), servable(version=2), servable(version=3))
        async with h.changes.prepared(Change(kind="reload")) as prepared:
            await h.changes.do_without(prepared, {("colors", 3): "no room over there"})
            report = await h.changes.commit(prepared)
        assert report.loaded == ["colors:2"]
        assert report.refused == {"colors:3": "no room over there"}


async def test_a_foveal_toml_that_is_not_valid_refuses_the_reload_and_what_was_served_goes_on() -> (
    None
):
    def unreadable() -> Catalog:
        raise ConfigurationError("models/foveal.toml: line 3 is no TOML.")

    async with house(servable()) as h:
        changes = Changes(h.registry, unreadable, h.lies)
        with pytest.raises(RefusedModelError, match="line 3 is no TOML"):
            await changes.change(Change(kind="reload"))
        h.lies = replace(h.lies, fleet=fleet(aliases={"stable": 7}))
        with pytest.raises(RefusedModelError, match="leads to version 7, which colors does not"):
            await h.changes.change(Change(kind="reload"))
        assert h.served() == ["colors:1"]


async def test_a_changed_foveal_toml_drops_the_aliases_of_calls_and_an_unchanged_one_does_not() -> (
    None
):
    async with house(servable(version=1), servable(version=2), fleet=fleet(digest=1)) as h:
        await h.changes.change(Change(kind="alias", name="colors", alias="stable", version=1))
        assert h.registry.find(["classify"], "colors@stable", None).version == 1
        await h.changes.change(Change(kind="reload"))
        assert dict(h.registry.routes_of("colors").aliases) == {"stable": 1}
        h.lies = replace(h.lies, fleet=fleet(digest=2, aliases={"canary": 2}))
        await h.changes.change(Change(kind="reload"))
        assert dict(h.registry.routes_of("colors").aliases) == {"canary": 2}


async def test_a_worker_that_began_with_the_changed_foveal_toml_drops_the_aliases_too() -> None:
    """It has taken the place of another one, with what calls had set before the file was changed."""
    async with house(servable(version=1), fleet=fleet(digest=1)) as h:
        await h.changes.change(Change(kind="alias", name="colors", alias="a", version=1))
        lies = replace(h.lies, fleet=fleet(digest=2))
        changes = Changes(h.registry, lambda: lies, lies, h.changes.overrides)
        await changes.change(Change(kind="reload"))
        assert dict(changes.overrides.routes) == {}


@pytest.mark.parametrize("refuses", [0, 2])
async def test_a_reload_that_comes_while_a_call_loads_waits_and_sees_what_came_of_it(
    refuses: int,
) -> None:
    async with house(servable("a"), refuses=refuses) as h:
        await h.loader.has_begun()
        h.loader.gate.clear()
        h.put(servable("a"), servable("b", 2))
        loading = asyncio.create_task(
            h.changes.change(Change(kind="load_version", name="b", version=2))
        )
        await h.loader.has_begun()
        h.put(servable("a"), servable("b", 2), servable("c"))
        reloading = asyncio.create_task(h.changes.change(Change(kind="reload")))
        await asyncio.sleep(0)
        assert h.served() == ["a:1"]
        h.loader.gate.set()
        (loaded,) = await asyncio.gather(loading, return_exceptions=True)
        report = await reloading
        assert report.loaded == ["c:1"], "each says what it has done itself"
        if refuses:
            assert isinstance(loaded, RefusedModelError)
            assert list(report.refused) == ["b:2"]
            states = {model.name: model.state for model in h.registry.models}
            assert states == {"a": "ready", "b": "failed", "c": "ready"}
        else:
            assert isinstance(loaded, ChangeReport)
            assert (loaded.loaded, report.refused) == (["b:2"], {})
            assert h.served() == ["a:1", "b:2", "c:1"]


async def test_so_many_changes_wait_for_the_one_that_runs() -> None:
    async with house(servable()) as h, h.changes.prepared(Change(kind="reload")):
        waiting = [
            asyncio.create_task(h.changes.change(Change(kind="reload")))
            for _ in range(MOST_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="8 changes of the models wait"):
            await h.changes.change(Change(kind="reload"))
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)


async def test_a_change_waits_for_the_one_that_runs_only_for_a_time_and_says_which_it_is() -> None:
    async with house(servable("a")) as h:
        h.put(servable("a"), servable("b", 2))
        changes = Changes(h.registry, lambda: h.lies, h.lies, turn_seconds=0.01)
        unload = Change(kind="unload_model", name="a")
        async with changes.prepared(Change(kind="load_version", name="b", version=2)) as running:
            with pytest.raises(
                OverloadedError, match=r"still runs, .*: load_version of b version 2"
            ):
                await changes.change(unload)
            assert not running.committed
        report = await changes.change(unload)
        assert report.removed == ["a:1"]


async def test_the_answer_says_where_what_was_removed_has_not_drained() -> None:
    async with house(servable("a"), servable("b")) as h:
        changes = Changes(h.registry, lambda: h.lies, h.lies, drained_seconds=0.01)
        lease = h.registry.find(["classify"], "a", None).lease
        report = await changes.change(Change(kind="unload_model", name="a"))
        assert (report.removed, report.drained) == (["a:1"], False)
        del lease


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (Change(kind="load_model", name="none"), UnknownModelError, "no model 'none'"),
        (Change(kind="load_model", name="../x"), UnknownModelError, "no model '../x'"),
        (
            Change(kind="load_version", name="colors", version=9),
            UnknownVersionError,
            r"no version 9 in the folder of the models\. Versions: 1, 2",
        ),
        (
            Change(kind="load_version", name="colors", version=3),
            RefusedModelError,
            "it carries no card",
        ),
        (
            Change(kind="unload_version", name="colors", version=9),
            UnknownVersionError,
            "no version 9",
        ),
        (
            Change(kind="unload_version", name="colors", version=1),
            ModelInUseError,
            "stable.* of colors leads to version 1",
        ),
        (
            Change(kind="unload_version", name="colors", version=2),
            ModelInUseError,
            "colors:2 is the default of classify",
        ),
        (
            Change(kind="unload_version", name="colors", version=1, file=True),
            ModelInUseError,
            "stable.* of colors leads to version 1",
        ),
        (
            Change(kind="unload_version", name="colors", version=9, file=True),
            UnknownVersionError,
            "no version 9",
        ),
        (
            Change(kind="unload_version", name="colors", version=3),
            UnknownVersionError,
            "no version 3",
        ),
        (
            Change(kind="alias", name="colors", alias="canary", version=9),
            InvalidParameterError,
            "leads to version 9",
        ),
        (Change(kind="alias", name="colors", alias="canary"), UnknownVersionError, "no alias"),
        (
            Change(kind="weights", name="colors", weights={"stable": 50}),
            InvalidParameterError,
            "100",
        ),
        (Change(kind="shadow", name="colors", shadow="canary"), InvalidParameterError, "shadow"),
        (Change(kind="unload_model", name="eyes"), ModelInUseError, "head reads the features"),
        (
            Change(kind="unload_version", name="eyes", version=1),
            ModelInUseError,
            "Unload head first",
        ),
    ],
)
async def test_what_can_not_be_is_refused_and_changes_nothing(
    change: Change, error: type[Exception], message: str
) -> None:
    async with fleet_house() as h:
        h.put(*h.lies.servables, refusals=(refusal(3),))
        served, overrides = h.registry.models, h.changes.overrides
        with pytest.raises(error, match=message):
            await h.changes.change(change)
        assert h.registry.models == served
        assert h.changes.overrides is overrides


async def test_a_version_that_is_not_served_may_go_with_its_file_and_nothing_is_remembered() -> (
    None
):
    """Where another process serves it, that one unloads it, or refuses the change for all."""
    async with fleet_house() as h:
        h.put(*h.lies.servables, refusals=(refusal(3),))
        gone = await h.changes.change(
            Change(kind="unload_version", name="colors", version=3, file=True)
        )
        assert gone.removed == []
        assert list(gone.refused) == ["colors:3"]
        h.put(*h.lies.servables)
        looked = await h.changes.change(Change(kind="look", name="colors", version=3))
        assert looked.refused == {}
        h.put(*h.lies.servables, servable("colors", 3))
        await h.changes.change(Change(kind="reload"))
        assert ("colors", 3) in [(one.name, one.version) for one in h.registry.models]


async def test_the_last_version_of_an_unloaded_model_may_go_with_its_file() -> None:
    async with house(servable("eyes"), servable("colors")) as h:
        await h.changes.change(Change(kind="unload_model", name="colors"))
        with pytest.raises(UnknownVersionError, match="Versions: none"):
            await h.changes.change(Change(kind="unload_version", name="colors", version=1))
        remove = Change(kind="unload_version", name="colors", version=1, file=True)
        assert (await h.changes.change(remove)).removed == []


async def test_a_file_that_something_names_stays_though_it_is_not_served() -> None:
    remove = Change(kind="unload_version", name="colors", version=1, file=True)
    async with house(servable("eyes"), servable("colors")) as h:
        await h.changes.change(Change(kind="alias", name="colors", alias="a", version=1))
        await h.changes.change(Change(kind="unload_model", name="colors"))
        with pytest.raises(ModelInUseError, match="alias a of colors leads to version 1"):
            await h.changes.change(remove)
    async with house(servable("eyes"), servable("colors"), fleet=fleet(ttl_seconds=9)) as h:
        with pytest.raises(ModelInUseError, match=r"foveal.toml has a section for colors"):
            await h.changes.change(remove)
        assert h.served() == ["colors:1", "eyes:1"]
        h.put(servable("eyes"), servable("colors"), servable("colors", 2))
        assert (await h.changes.change(remove)).removed == ["colors:1"]


async def test_a_model_that_comes_back_is_not_held_to_aliases_of_versions_that_are_gone() -> None:
    async with house(servable("eyes"), servable("colors")) as h:
        await h.changes.change(Change(kind="alias", name="colors", alias="a", version=1))
        h.put(servable("eyes"))
        await h.changes.change(Change(kind="reload"))
        h.put(servable("eyes"), servable("colors", 2))
        await h.changes.change(Change(kind="load_version", name="colors", version=2))
        assert h.served() == ["colors:2", "eyes:1"]
        assert h.registry.routes_of("colors").aliases == {}


def fleet_house() -> AbstractAsyncContextManager[House]:
    """Two versions of `colors`, one with an alias and one the default; `head` reads the features of `eyes`."""
    certificate = servable().card.certificate.model_copy(update={"graph_sha256": GRAPH})
    return house(
        servable("colors", 1),
        servable("colors", 2),
        servable("eyes", certificate=certificate),
        servable("head", backbone="eyes", backbone_sha256=GRAPH),
        fleet=fleet({"classify": "colors:2"}, aliases={"stable": 1}),
    )


async def test_a_network_is_unloaded_with_the_head_that_reads_it_and_loaded_with_it() -> None:
    async with fleet_house() as h:
        gone = await h.changes.change(Change(kind="unload_model", name="eyes", dependents=True))
        assert gone.removed == ["eyes:1", "head:1"]
        back = await h.changes.change(Change(kind="load_model", name="head"))
        assert back.loaded == ["eyes:1", "head:1"]


async def test_shares_and_a_shadow_are_set_and_taken_away() -> None:
    async with fleet_house() as h:
        shares = {"stable": 25.0, "2": 75.0}
        await h.changes.change(Change(kind="weights", name="colors", weights=shares))
        await h.changes.change(Change(kind="shadow", name="colors", shadow="2"))
        found = [h.registry.find(["classify"], "colors", None).version for _ in range(4)]
        assert sorted(found) == [1, 2, 2, 2]
        first, second = h.registry.versions("colors")
        assert h.registry.shadow_of(first, "colors", None) is second
        assert h.registry.shadow_of(first, None, None) is second
        assert h.registry.shadow_of(second, "colors", None) is None, "it has answered itself"
        for name, version in (("colors", 1), ("colors:1", None), ("colors@stable", None)):
            assert h.registry.shadow_of(first, name, version) is None
        await h.changes.change(Change(kind="shadow", name="colors"))
        await h.changes.change(Change(kind="weights", name="colors"))
        assert h.registry.shadow_of(first, "colors", None) is None
        assert h.registry.find(["classify"], "colors", None).version == 2


async def test_no_route_leads_to_a_version_that_was_unloaded() -> None:
    async with house(servable(version=1), servable(version=2)) as h:
        await h.changes.change(Change(kind="unload_version", name="colors", version=2))
        with pytest.raises(NotReadyError, match="leads to version 2, which was unloaded"):
            await h.changes.change(Change(kind="alias", name="colors", alias="a", version=2))


async def test_an_alias_of_an_unloaded_model_goes_though_others_lead_to_it() -> None:
    async with house(servable("colors", 1), servable("other")) as h:
        for alias in ("stable", "old"):
            await h.changes.change(Change(kind="alias", name="colors", alias=alias, version=1))
        await h.changes.change(Change(kind="unload_model", name="colors"))

        gone = await h.changes.change(Change(kind="alias", name="colors", alias="old"))

        assert gone.plans["colors"].aliases == {"stable": 1}
        with pytest.raises(NotReadyError, match="the alias again leads to version 1"):
            await h.changes.change(Change(kind="alias", name="colors", alias="again", version=1))
