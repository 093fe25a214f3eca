"""The same image in whatever batch: equal within a stated tolerance, and bit by bit where that is wanted."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.runtime.device import Device
from service.runtime.job import Outputs, Run
from service.runtime.loaded import Loaded
from service.runtime.loading import ModelLoader
from service.runtime.repository import Servable, scan_repository
from service.tasks.tasks import TASKS
from tests.live import MODELS

TOLERANCE = 1e-4
"""Of an output's largest value: docs/performance.md states it."""
HEAVY = {"u2netp"}
SERVABLES = {one.name: one for one in scan_repository(MODELS)[0]}


@cache
def loaded(name: str, *, deterministic: bool) -> Loaded:
    return ModelLoader(
        Device("cpu"),
        largest=0 if deterministic else most(name),
        instances=0,
        threads=2,
        cache=Path(),
        outputs={task.name: task.outputs for task in TASKS.values()},
        deterministic=deterministic,
    ).load(SERVABLES[name])


def most(name: str) -> int:
    return 2 if name in HEAVY else 32


def noise(servable: Servable, count: int, blank: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return inputs that differ: noise of different brightness."""
    random = np.random.default_rng(5)
    if servable.card.input is None:
        return random.standard_normal((count, *blank.shape)).astype(np.float32)
    top = np.linspace(40, 256, count).reshape(-1, 1, 1, 1)
    return (random.random((count, *blank.shape)) * top).astype(np.uint8)


def sizes(largest: int) -> Iterator[int]:
    """Yield batch sizes from 1 to the largest: all small ones, and those around powers of two."""
    yield from (size for size in range(1, largest + 1) if size <= 8 or size in {17, 32})


def runs(of: Loaded) -> list[Run]:
    return [*dict.fromkeys(of.runs), *([of.wide] if of.wide else [])]


def furthest(found: Outputs, alone: Outputs, row: int) -> float:
    """Return how far a row of a batch is from the same image alone, as a share of the largest value."""
    return max(
        float(np.abs(found[name][row] - alone[name][0]).max() / (np.abs(alone[name]).max() or 1))
        for name in alone
    )


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", sorted(SERVABLES))
def test_an_answer_is_the_same_in_every_batch_within_the_tolerance(name: str) -> None:
    network = loaded(name, deterministic=False)
    images = noise(SERVABLES[name], network.largest, network.blank)
    alone = [network.runs[0](images[row : row + 1]) for row in range(len(images))]
    worst = 0.0
    for run in runs(network):
        for size in sizes(network.largest if run is not network.wide else 1):
            found = run(images[-size:])
            worst = max(
                worst,
                *(furthest(found, alone[len(images) - size + row], row) for row in range(size)),
            )
    assert worst <= TOLERANCE


@pytest.mark.parametrize("name", sorted(SERVABLES))
def test_deterministic_images_run_alone_on_one_thread(name: str) -> None:
    network = loaded(name, deterministic=True)
    assert (network.largest, network.wide, network.cores) == (1, None, 1)
    assert len(network.runs) == 2
    (run,) = runs(network)
    assert run.plan.intra_threads == 1  # type: ignore[attr-defined]
