"""Where the time goes, from metrics as the service writes them."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from benchmarks.gpu.processes import cpu_seconds
from benchmarks.gpu.stages import read_sums, spent
from service.stage_times import StageTimes


def test_the_sums_of_a_model_are_read_from_the_services_own_metrics() -> None:
    registry = CollectorRegistry()
    stages = ("decode", "queue", "infer", "head")
    times = StageTimes("foveal_stage_seconds", "time", [0.1, 1.0], stages, registry)
    sizes = Histogram("foveal_batch_size", "images", ["model"], registry=registry)
    for _ in range(3):
        times.of_version("one", "1").observe(0.25, 0.5, 0.125, 0.0625)
    times.of_version("other", "1").observe(9, 9, 9, 9)
    for size in (1, 2):
        sizes.labels("one").observe(size)

    found = read_sums(generate_latest(registry).decode(), "one")

    assert found.seconds == {"decode": 0.75, "queue": 1.5, "infer": 0.375, "head": 0.1875}
    assert (found.images, found.batches, found.batched) == (3, 2, 3)


def test_what_was_spent_is_the_difference_for_each_image() -> None:
    registry = CollectorRegistry()
    before = read_sums(generate_latest(registry).decode(), "one")
    stages = ("decode", "queue", "infer", "head")
    times = StageTimes("foveal_stage_seconds", "time", [0.1, 1.0], stages, registry)
    sizes = Histogram("foveal_batch_size", "images", ["model"], registry=registry)
    for _ in range(4):
        times.of_version("one", "1").observe(0.5, 0.1, 0.2, 0.0)
    sizes.labels("one").observe(4)

    found = spent(before, read_sums(generate_latest(registry).decode(), "one"), 0.8)

    assert found["stage_ms"] == {"decode": 500, "queue": 100, "infer": 200, "head": 0}
    assert found["images_a_batch"] == 4
    # Four half seconds of decoding within 0.8 s.
    assert found["decoding_threads"] == 2.5


@pytest.mark.parametrize(("pid", "expected"), [(10, 6.0), (11, 3.0), (12, 1.0), (99, 0.0)])
def test_the_time_of_a_process_has_that_of_its_descendants(
    tmp_path: Path, pid: int, expected: float
) -> None:
    """The fields of proc(5): pid, name, state, parent, ten others, user and system time in ticks."""
    import os  # noqa: PLC0415

    ticks = os.sysconf("SC_CLK_TCK")
    for one, name, parent, user, system in (
        (1, "init", 0, 90, 9),
        (10, "a server", 1, 2, 1),
        (11, "odd) name (", 10, 1, 1),
        (12, "x", 11, 1, 0),
    ):
        (tmp_path / str(one)).mkdir()
        rest = f"S {parent} {'0 ' * 9}{user * ticks} {system * ticks} 0 0"
        (tmp_path / str(one) / "stat").write_text(f"{one} ({name}) {rest}")
    (tmp_path / "uptime").write_text("1 1")

    assert cpu_seconds(pid, tmp_path) == expected
