from dataclasses import replace
from pathlib import Path

import pytest

from service.processes.slot import WorkerSlot

SLOT = WorkerSlot(Path("/run"), 1, 3)


@pytest.mark.parametrize(
    ("threads", "count", "shares"),
    [(8, 2, [4, 4]), (3, 2, [2, 1]), (5, 3, [2, 2, 1]), (2, 3, [1, 1, 1]), (1, 1, [1])],
)
def test_threads_are_shared_out_and_each_slot_has_one(
    threads: int, count: int, shares: list[int]
) -> None:
    slot = replace(SLOT, count=count)
    assert [replace(slot, index=index).share(threads) for index in range(count)] == shares


def test_people_count_workers_from_one_and_files_count_them_from_zero() -> None:
    assert SLOT.name == "worker 2"
    assert SLOT.socket == Path("/run/1.socket")
    assert SLOT.saved_metrics == Path("/run/1.json")


def test_the_others_are_all_slots_but_this_one() -> None:
    assert SLOT.others() == [replace(SLOT, index=0), replace(SLOT, index=2)]
    assert replace(SLOT, index=0, count=1).others() == []
