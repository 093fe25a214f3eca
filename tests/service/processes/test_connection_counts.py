from pathlib import Path

from service.processes.connection_counts import ConnectionCounts
from service.processes.slot import WorkerSlot


def test_a_connection_goes_to_the_worker_with_the_fewest_and_never_to_a_dead_one(
    tmp_path: Path,
) -> None:
    first = ConnectionCounts(WorkerSlot(tmp_path, 0, 2))
    second = ConnectionCounts(WorkerSlot(tmp_path, 1, 2))
    assert first.has_fewest(0)
    assert not first.has_fewest(1)
    assert second.has_fewest(1)
    second.vacate()
    assert first.has_fewest(100)
    ConnectionCounts(WorkerSlot(tmp_path, 1, 2, refilled=True))
    assert not first.has_fewest(100)


def test_of_many_connections_a_few_more_are_not_more(tmp_path: Path) -> None:
    """In a burst two workers left each connection to the other for a while."""
    first = ConnectionCounts(WorkerSlot(tmp_path, 0, 2))
    second = ConnectionCounts(WorkerSlot(tmp_path, 1, 2))
    assert second.has_fewest(0)
    assert not first.has_fewest(1)
    second.has_fewest(160)
    assert [first.has_fewest(own) for own in (160, 170, 171)] == [True, True, False]
