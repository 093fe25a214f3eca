import logging
from pathlib import Path

import pytest

from service.processes.shared_memory import ENOUGH_BYTES, SharedMemory

GROUP = Path("group")


@pytest.mark.parametrize(
    ("limit", "tight"), [(None, False), (2 * ENOUGH_BYTES, False), (2 * ENOUGH_BYTES - 1, True)]
)
def test_memory_is_tight_where_workers_have_less_than_is_recommended(
    limit: int | None, *, tight: bool
) -> None:
    assert SharedMemory(2, limit).is_tight == tight


def test_memory_that_is_too_little_is_said_once_with_what_to_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = SharedMemory(2, 768 << 20)
    memory.loaded(420 << 20)
    memory.loaded(430 << 20)
    (line,) = caplog.messages
    assert line.startswith("The memory is too little for 2 workers: 768 MiB in all, 336 for each")
    assert "one took 420 MiB" in line
    assert "FOVEAL_WORKERS=1, or give the service at least 936 MiB" in line


@pytest.mark.parametrize(("limit", "took"), [(936, 420), (None, 420), (10, 0)])
def test_memory_that_is_enough_or_not_known_gives_no_line(
    limit: int | None, took: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    SharedMemory(2, None if limit is None else max(limit, 96) << 20).loaded(took << 20)
    assert not caplog.messages


def test_only_a_process_that_ended_for_want_of_memory_gives_advice() -> None:
    counts = {GROUP: 3}
    memory = SharedMemory(2, 768 << 20, lambda: counts)
    before = dict(memory.kills())
    assert memory.advice(before) == ""
    counts[GROUP] = 4
    assert "the memory of 768 MiB was used up" in memory.advice(before)
    assert "set FOVEAL_WORKERS lower" in memory.advice(before)
