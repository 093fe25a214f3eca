"""`FOVEAL_WORKERS=auto`: the number follows from CPU times that a service of its own has taken."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.logs import LOGGER
from service.planning.full_load import FullLoad
from service.planning.kept_load import LoadCache
from service.planning.worker_count import count_workers, judge
from service.runtime.repository import scan_repository
from tests.servables import color_card, write_servable


def a_load(loop_ms: float | None, cpu_ms: float | None, device: str = "cpu") -> FullLoad:
    loop = None if loop_ms is None else loop_ms / 1e3
    cpu = None if cpu_ms is None else cpu_ms / 1e3
    return FullLoad(100.0, loop, cpu, device, 0, 0.0)


@pytest.mark.parametrize(
    ("loop_ms", "cpu_ms", "cores", "count"),
    [
        (0.35, 0.5, 2, 2),
        (0.35, 0.5, 16, 16),
        (0.56, 15.9, 2, 1),
        (0.56, 15.9, 8, 1),
        (0.56, 15.9, 32, 3),
        (0.25, 1.0, 2, 1),
        (0.26, 1.0, 2, 2),
    ],
)
def test_there_are_so_many_workers_that_no_event_loop_is_busy_for_half_of_the_time(
    loop_ms: float, cpu_ms: float, cores: int, count: int
) -> None:
    found = judge("a", a_load(loop_ms, cpu_ms), cores)

    assert found.count == count
    assert f"{loop_ms:.2f} of {cpu_ms:.2f} ms" in found.because


def test_a_gpu_and_a_system_without_figures_keep_one_worker() -> None:
    assert judge("a", a_load(0.4, 0.5, "cuda"), 16).count == 1
    assert judge("a", a_load(None, None), 16).count == 1


def test_what_can_not_be_measured_keeps_one_worker_and_says_why(
    repository: Path, tmp_path: Path
) -> None:
    empty, cache = tmp_path / "empty", LoadCache(tmp_path / "cache")
    empty.mkdir()

    assert count_workers(repository, {}, cache, cores=1).because == "there is one core"
    assert count_workers(empty, {}, cache, cores=2).because == "no model takes images"
    found = count_workers(repository, {"FOVEAL_THREADS": "none"}, cache, cores=2)
    assert found.count == 1
    assert "FOVEAL_THREADS" in found.because
    assert not cache.folder.exists()


def test_a_network_that_is_heavy_beyond_doubt_is_not_measured(tmp_path: Path) -> None:
    card = color_card()
    cost = card.cost.model_copy(update={"macs": 10**10})
    write_servable(tmp_path, card=card.model_copy(update={"cost": cost}))

    cache = LoadCache(tmp_path / "cache")
    found = count_workers(tmp_path, {"FOVEAL_THREADS": "none"}, cache, cores=2)

    assert (found.count, found.because) == (1, "colors takes 1e+10 multiplications for an image")


def test_a_tiny_network_gets_a_worker_a_core_and_is_measured_once(
    repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = LoadCache(tmp_path / "cache")

    with caplog.at_level("INFO", LOGGER):
        found, again = (count_workers(repository, {}, cache, cores=2) for _ in range(2))

    assert found.count == 2
    assert "of a request to colors" in found.because
    assert again == found
    assert len(caplog.records) == 3  # measured, and two times the number
    assert sum("is measured for some seconds" in one.message for one in caplog.records) == 1


def test_what_is_kept_counts_for_the_same_model_and_settings_only(
    repository: Path, tmp_path: Path
) -> None:
    cache, (servable,) = LoadCache(tmp_path / "cache"), scan_repository(repository)[0]
    refused = {"FOVEAL_THREADS": "none"}  # a service that is measured with it does not start
    cache.write(cache.key(servable, refused), a_load(0.35, 0.5))

    found = count_workers(repository, refused, cache, cores=2)
    assert (found.count, "0.35 of 0.50 ms" in found.because) == (2, True)

    for path in cache.folder.iterdir():
        path.write_text('{"per_second": "many"}')
    assert "could not be measured" in count_workers(repository, refused, cache, cores=2).because
    card = servable.card.model_copy(update={"description": "Another network."})
    other = replace(servable, card=card)
    keys = {
        cache.key(*one)
        for one in [(servable, refused), (servable, {}), (other, {}), (other, refused)]
    }
    assert len(keys) == 4
