"""Chunks through processes that the tests let die: nothing is lost, and an image that kills is found."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from service.bulk.answers import Answer
from service.bulk.chunks import Read
from service.bulk.cluster import (
    MOST_LOSSES,
    MOST_STARTS,
    ClusterAnswers,
    Description,
    Place,
    WorkerLostError,
    places_of,
)
from service.bulk.predictor import Wanted
from service.bulk.record import Record
from service.errors import ConfigurationError

pytestmark = pytest.mark.anyio

RECORD = Record("classify", "digits", 3, "abc", {}, "1")
PLACES = [Place("a", 1), Place("b", 1)]
ROOM = 2


def read(*names: str) -> Read:
    return [(name, b"x") for name in names]


class Fake:
    """A process that answers with the names, or dies with all that it has."""

    def __init__(self, cluster: "FakeCluster", place: Place) -> None:
        self.cluster = cluster
        self.place = place
        self.wanted: Wanted | None = None
        self.has: list[Read] = []
        self.died = asyncio.Event()
        self.ended = False

    async def ready(self) -> None:
        if self.cluster.starts_left == 0:
            raise WorkerLostError("no memory")
        if not self.cluster.has_room.is_set():
            self.cluster.asked_for_room.set()
            await self.cluster.has_room.wait()
        self.cluster.starts_left -= 1

    async def describe(self, wanted: Wanted) -> Description:
        self.wanted = wanted
        return Description(self.cluster.records.get(self.place.node, RECORD), 16, ROOM)

    async def answers(self, read: Read) -> Sequence[Answer]:
        if self.died.is_set():
            raise WorkerLostError("dead")
        self.has.append(read)
        if self.cluster.silent is not None:
            self.cluster.silent.set()
            await self.died.wait()
        assert len(self.has) <= ROOM
        dying = asyncio.create_task(self.died.wait())
        try:
            for _ in range(3):  # what else the process has comes in between
                await asyncio.sleep(0)
            if {name for name, _ in read} & self.cluster.killers:
                self.died.set()
            if dying.done() or self.died.is_set():
                raise WorkerLostError("dead")
            return [Answer({"image": name}) for name, _ in read]
        finally:
            dying.cancel()
            with suppress(asyncio.CancelledError):
                await dying
            self.has.remove(read)

    def end(self) -> None:
        self.ended = True


class FakeCluster:
    def __init__(self, *killers: str, starts: int = 1000) -> None:
        self.killers = set(killers)
        self.starts_left = starts
        self.records: dict[str, Record] = {}
        self.started: list[Fake] = []
        self.notes: list[str] = []
        self.silent: asyncio.Event | None = None
        """Is set by a process that has a chunk and never answers; None: they answer."""
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.asked_for_room = asyncio.Event()

    def start(self, place: Place) -> Fake:
        self.started.append(fake := Fake(self, place))
        return fake

    def answers(self, note_seconds: float = 60, room_seconds: float = 60) -> ClusterAnswers:
        return ClusterAnswers(
            PLACES,
            Wanted("classify", "digits@stable"),
            self.start,
            self.notes.append,
            pause_seconds=0,
            note_seconds=note_seconds,
            room_seconds=room_seconds,
        )


async def test_the_first_process_chooses_the_version_and_the_others_take_the_same() -> None:
    cluster = FakeCluster()
    answers = cluster.answers()
    async with answers.running():
        assert answers.record == RECORD
        assert answers.in_flight == ROOM * len(PLACES)
        while len([one for one in cluster.started if one.wanted]) < 2:
            await asyncio.sleep(0)
    assert [one.wanted.model for one in cluster.started if one.wanted] == [
        "digits@stable",
        "digits:3",
    ]
    assert all(one.ended for one in cluster.started)


async def test_what_a_dead_process_had_goes_to_another_one() -> None:
    cluster = FakeCluster()
    cluster.silent = asyncio.Event()
    answers = cluster.answers()
    async with answers.running():
        chunks = [asyncio.create_task(answers.answers(read(f"{i}a", f"{i}b"))) for i in range(40)]
        while len([one for one in cluster.started if one.has]) < len(PLACES):
            await asyncio.sleep(0)
        cluster.silent = None
        for process in cluster.started:
            process.died.set()
        found = [[one.row["image"] for one in await chunk] for chunk in chunks]
        while len(cluster.started) < 2 * len(PLACES):
            await asyncio.sleep(0)
    assert found == [[f"{i}a", f"{i}b"] for i in range(40)]
    assert answers.losses == len(PLACES)


async def test_an_image_that_kills_its_process_has_an_error_and_the_others_do_not() -> None:
    cluster = FakeCluster("7", "12")
    answers = cluster.answers()
    async with answers.running():
        chunks = [read(*map(str, range(i, i + 4))) for i in range(0, 40, 4)]
        found = await asyncio.gather(*(answers.answers(chunk) for chunk in chunks))
    rows = [one.row for chunk in found for one in chunk]
    assert [row["image"] for row in rows] == [str(i) for i in range(40)]
    failed = {row["image"]: row["error"] for row in rows if "error" in row}
    assert set(failed) == {"7", "12"}
    assert failed["7"]["code"] == "inference_failed"
    assert f"{MOST_LOSSES} processes of the cluster died" in failed["7"]["detail"]


async def test_a_process_with_other_files_ends_the_run() -> None:
    cluster = FakeCluster()
    cluster.records["b"] = replace(RECORD, graph_sha256="def")
    answers = cluster.answers()

    async def go_on() -> None:
        async with answers.running():
            while True:
                await answers.answers(read("a"))

    with pytest.raises(ConfigurationError, match=r"Machine [ab] of the cluster has graph_sha256"):
        await go_on()


async def test_processes_that_never_start_end_the_run() -> None:
    cluster = FakeCluster(starts=0)
    with pytest.raises(ConfigurationError, match="starts any more: no memory"):
        async with cluster.answers().running():
            raise AssertionError
    assert len(cluster.started) == MOST_STARTS * len(PLACES)


async def test_a_chunk_that_waits_is_not_left_waiting_where_no_process_starts_again() -> None:
    cluster = FakeCluster("a", starts=2)
    answers = cluster.answers()
    with pytest.raises(ConfigurationError, match="starts any more"):
        async with answers.running():
            await answers.answers(read("a"))


async def test_a_chunk_on_a_machine_that_is_silent_ends_where_the_run_fails() -> None:
    cluster = FakeCluster()
    answers = cluster.answers()
    async with answers.running():
        cluster.silent = asyncio.Event()
        waiting = asyncio.create_task(answers.answers(read("a")))
        await cluster.silent.wait()
        await answers.fail(ConfigurationError("the head is gone"))
        with pytest.raises(ConfigurationError, match="the head is gone"):
            await waiting
        with pytest.raises(ConfigurationError, match="the head is gone"):
            await answers.answers(read("b"))


async def test_a_cluster_that_has_no_room_for_a_process_ends_the_run_and_says_what_to_do() -> None:
    cluster = FakeCluster()
    cluster.has_room.clear()
    with pytest.raises(
        ConfigurationError, match=r"no room for a process for 0\.02 s.*--ray-cpus 1"
    ):
        async with cluster.answers(0.01, 0.02).running():
            raise AssertionError
    assert len(cluster.notes) == 1
    assert "`ray status` shows it" in cluster.notes[0]
    assert all(one.ended for one in cluster.started)


async def test_a_cluster_that_has_room_after_a_while_is_waited_for() -> None:
    cluster = FakeCluster()
    cluster.has_room.clear()
    noted = asyncio.Event()
    answers = ClusterAnswers(
        PLACES,
        Wanted("classify"),
        cluster.start,
        lambda _: noted.set(),
        note_seconds=0,
    )
    starting = asyncio.create_task(_answered(answers))
    await noted.wait()
    cluster.has_room.set()
    assert await starting == "a"


async def test_a_run_whose_processes_died_ends_where_the_cluster_has_no_room_any_more() -> None:
    cluster = FakeCluster("a")
    answers = cluster.answers(0.01, 0.02)
    async with answers.running():
        cluster.has_room.clear()
        for one in cluster.started:
            one.died.set()
        with pytest.raises(ConfigurationError, match="no room for a process"):
            await asyncio.gather(*(answers.answers(read("a")) for _ in range(4)))
        assert isinstance(await answers.failed(), ConfigurationError)


async def _answered(answers: ClusterAnswers) -> str:
    async with answers.running():
        (found,) = await answers.answers(read("a"))
        return str(found.row["image"])


@pytest.mark.parametrize(
    ("machines", "cpus", "places"),
    [
        ([("a", 8, 0)], None, [Place("a", 8)]),
        ([("a", 8, 0), ("b", 3, 0)], 4, [Place("a", 4)] * 2),
        ([("a", 8, 2)], None, [Place("a", 4, 1)] * 2),
        ([("a", 8, 2)], 8, [Place("a", 8, 1)]),
        ([("a", 0, 0), ("b", 1, 0.5)], None, [Place("b", 1)]),
        ([("a", 2, 4)], None, [Place("a", 1, 1)] * 2),
    ],
)
async def test_each_machine_has_as_many_processes_as_it_has_room_for(
    machines: list[tuple[str, float, float]], cpus: int | None, places: list[Place]
) -> None:
    assert places_of(machines, cpus) == places


async def test_a_cluster_without_room_is_an_error_that_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="the largest has 2 CPUs, and 4 are needed"):
        places_of([("a", 2, 0)], 4)
