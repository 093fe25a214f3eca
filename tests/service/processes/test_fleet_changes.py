"""A worker's part in a change: what becomes of what it has prepared when worker 1 is gone."""

import asyncio
import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from pydantic_core import from_json, to_json

from service.errors import ModelInUseError, RefusedModelError, UnavailableError
from service.processes.fleet_changes import read_overrides
from service.processes.peers import Peers
from service.processes.slot import WorkerSlot
from service.runtime.change import Change, ChangeReport
from service.runtime.changes import Changes, Prepared
from service.runtime.transitions import Transition
from service.runtime.wanted import Key, Overrides, Wanted

pytestmark = pytest.mark.anyio
CHANGE = Change(kind="load_version", name="colors", version=2)
NOW = Overrides().with_version(("colors", 2))


@dataclass
class Part:
    """In the place of a process's changes: notes what becomes of them."""

    failures: dict[Key, str] = field(default_factory=dict)
    refuses: Exception | None = None
    fails: str = ""
    done: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    failures_at_last: Mapping[Key, str] = field(default_factory=dict)

    @asynccontextmanager
    async def prepared(self, _: Change) -> AsyncIterator[Prepared]:
        if self.refuses is not None:
            raise self.refuses
        made = Prepared(Transition(Wanted(()), {}, self.failures), NOW, cast("Any", None))
        self.done.append("prepared")
        try:
            yield made
        finally:
            if not made.committed:
                self.done.append("aborted")
            self.ended.set()

    async def commit(self, prepared: Prepared) -> ChangeReport:
        prepared.committed = True
        if self.fails:
            raise UnavailableError(self.fails)
        self.done.append("committed")
        return ChangeReport(loaded=["colors:2"])

    async def do_without(self, prepared: Prepared, failures: Mapping[Key, str]) -> None:
        self.done.append(f"without {sorted(failures)}")
        prepared.transition = Transition(Wanted(()), {}, failures)
        self.failures_at_last = failures


@asynccontextmanager
async def workers(tmp_path: Path, *parts: Part) -> AsyncIterator[list[Peers]]:
    async def one(index: int) -> None:
        async with peers[index].listening():
            listening[index].set()
            await asyncio.Event().wait()

    slots = [WorkerSlot(tmp_path, index, len(parts)) for index in range(len(parts))]
    peers = [
        Peers(slot, CollectorRegistry(), list, cast("Changes", part))
        for slot, part in zip(slots, parts, strict=True)
    ]
    listening = [asyncio.Event() for _ in parts]
    tasks = [asyncio.create_task(one(index)) for index in range(len(parts))]
    await asyncio.gather(*(event.wait() for event in listening))
    try:
        yield peers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("by", [0, 1, 2])
async def test_whoever_gets_the_call_all_do_it(tmp_path: Path, by: int) -> None:
    parts = [Part(), Part(), Part()]
    async with workers(tmp_path, *parts) as peers:
        assert (await peers[by].change(CHANGE)).loaded == ["colors:2"]
        for part in parts:
            await part.ended.wait()
            assert part.done == ["prepared", "committed"]
    assert read_overrides(WorkerSlot(tmp_path, 1, 3)) == NOW


@pytest.mark.parametrize("by", [0, 1])
@pytest.mark.parametrize("unable", [0, 1, 2])
async def test_where_one_can_not_none_does_it_and_the_caller_gets_the_reason(
    tmp_path: Path, unable: int, by: int
) -> None:
    parts = [Part(), Part(), Part()]
    parts[unable].refuses = ModelInUseError("motion reads it")
    async with workers(tmp_path, *parts) as peers:
        with pytest.raises(ModelInUseError, match="motion reads it"):
            await peers[by].change(CHANGE)
        for index, part in enumerate(parts):
            if "prepared" in part.done:
                await part.ended.wait()
                assert part.done == ["prepared", "aborted"], index
    assert read_overrides(WorkerSlot(tmp_path, 0, 3)) == Overrides()


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        (("broken", "broken", "broken"), "broken"),
        (("no room", "", "broken"), "worker 1: no room; worker 3: broken"),
        (("", "no room", "no room"), "worker 2: no room; worker 3: no room"),
    ],
)
async def test_the_reason_of_each_worker_that_can_not_load_a_version_is_named(
    tmp_path: Path, reasons: tuple[str, ...], message: str
) -> None:
    parts = [Part(refuses=RefusedModelError(one) if one else None) for one in reasons]
    async with workers(tmp_path, *parts) as peers:
        with pytest.raises(RefusedModelError) as caught:
            await peers[0].change(CHANGE)
        assert str(caught.value) == message
        for part in parts:
            if part.refuses is None:
                await part.ended.wait()
                assert part.done == ["prepared", "aborted"]


async def test_a_worker_that_does_not_listen_keeps_all_from_changing(tmp_path: Path) -> None:
    part = Part()
    slot = WorkerSlot(tmp_path, 0, 2)
    peers = Peers(slot, CollectorRegistry(), list, cast("Changes", part))
    with pytest.raises(UnavailableError, match="worker 2 does not answer"):
        await peers.change(CHANGE)
    assert part.done == ["prepared", "aborted"]


async def test_what_one_worker_can_not_load_all_do_without(tmp_path: Path) -> None:
    parts = [Part(), Part(failures={("colors", 2): "no room"}), Part()]
    async with workers(tmp_path, *parts) as peers:
        await peers[2].change(Change(kind="reload"))
        for part in parts:
            await part.ended.wait()
            assert part.done[-1] == "committed"
            assert "without [('colors', 2)]" in part.done
    for part in parts:
        assert part.failures_at_last == {("colors", 2): "worker 2: no room"}


@pytest.mark.parametrize("decided", [True, False])
async def test_what_is_prepared_when_worker_1_is_gone_follows_its_decision(
    tmp_path: Path, *, decided: bool
) -> None:
    part = Part()
    async with workers(tmp_path, Part(), part):
        slot = WorkerSlot(tmp_path, 1, 2)
        reader, writer = await asyncio.open_unix_connection(slot.socket)
        order = {"id": "7", "change": CHANGE.model_dump(mode="json")}
        writer.write(b"prepare " + to_json(order) + b"\n")
        assert from_json(await reader.readline()) == []
        decision = {"id": "7" if decided else "6", "overrides": {"loaded": [["colors", 2]]}}
        slot.overrides.write_bytes(to_json(decision))
        writer.close()
        await part.ended.wait()
        assert part.done == ["prepared", "committed" if decided else "aborted"]


@asynccontextmanager
async def ending_leader(tmp_path: Path, *, decides: bool) -> AsyncIterator[None]:
    """In the place of worker 1: lets worker 2 prepare what it passes on, and ends; with or without a decision."""
    first, second = (WorkerSlot(tmp_path, index, 2) for index in range(2))

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = (await reader.readline()).strip().removeprefix(b"change ")
        from_second, to_second = await asyncio.open_unix_connection(second.socket)
        to_second.write(b"prepare " + order + b"\n")
        assert from_json(await from_second.readline()) == []
        identity = from_json(order)["id"] if decides else "another"
        decision = {"id": identity, "overrides": {"loaded": [["colors", 2]]}}
        first.overrides.write_bytes(to_json(decision))
        to_second.close()
        writer.close()

    server = await asyncio.start_unix_server(lead, first.socket)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def test_a_call_is_answered_by_what_has_happened_although_worker_1_ended_after_its_decision(
    tmp_path: Path,
) -> None:
    part = Part()
    peers = Peers(WorkerSlot(tmp_path, 1, 2), CollectorRegistry(), list, cast("Changes", part))
    async with ending_leader(tmp_path, decides=True), peers.listening():
        report = await asyncio.wait_for(peers.change(CHANGE), 10)
    assert report.loaded == ["colors:2"]
    assert part.done == ["prepared", "committed"]


@pytest.mark.parametrize("by", [1, 2])
async def test_a_worker_whose_change_fails_at_the_last_step_fails_no_call_of_others(
    tmp_path: Path, by: int
) -> None:
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    parts = [Part(), Part(fails="no threads"), Part()]
    async with workers(tmp_path, *parts) as peers:
        report = await peers[by].change(CHANGE)
    assert report.loaded == ["colors:2"]
    for _ in range(10):  # what has ended lets go of its exceptions within a few steps of the loop
        await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    assert lost == []


async def test_a_call_says_that_nothing_has_changed_where_worker_1_ended_before_its_decision(
    tmp_path: Path,
) -> None:
    part = Part()
    peers = Peers(WorkerSlot(tmp_path, 1, 2), CollectorRegistry(), list, cast("Changes", part))
    async with ending_leader(tmp_path, decides=False), peers.listening():
        with pytest.raises(UnavailableError, match="nothing has changed"):
            await asyncio.wait_for(peers.change(CHANGE), 10)
        await part.ended.wait()
    assert part.done == ["prepared", "aborted"]


async def test_a_refused_file_is_named_as_it_was_there(tmp_path: Path) -> None:
    parts = [Part(), Part(refuses=RefusedModelError("colors/2/model.onnx: it carries no card"))]
    async with workers(tmp_path, *parts) as peers:
        with pytest.raises(RefusedModelError, match="it carries no card"):
            await peers[1].change(CHANGE)
