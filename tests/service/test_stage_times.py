"""The histogram of the stages against prometheus_client's own."""

import random

import pytest
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from service.stage_times import StageTimes

BOUNDS = (0.001, 0.01, 0.5, 1.0)
STAGES = ("decode", "infer")


def lines(registry: CollectorRegistry) -> list[str]:
    return sorted(generate_latest(registry).decode().splitlines())


@pytest.mark.parametrize("images", [0, 1, 500])
def test_a_scrape_is_that_of_prometheus_clients_histogram(images: int) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    times = StageTimes("stage_seconds", "Seconds.", BOUNDS, STAGES, ours)
    expected = Histogram(
        "stage_seconds", "Seconds.", ("model", "version", "stage"), buckets=BOUNDS, registry=theirs
    )
    noise = random.Random(4)  # no secret
    for model in ("cat", "dog"):
        counted = times.of_version(model, "1")
        for stage in STAGES:
            expected.labels(model, "1", stage)
        for _ in range(images):
            spent = [noise.choice([*BOUNDS, 0.0, noise.random() * 2]) for _ in STAGES]
            counted.observe(*spent)
            for stage, seconds in zip(STAGES, spent, strict=True):
                expected.labels(model, "1", stage).observe(seconds)
    assert lines(ours) == lines(theirs)


def test_a_version_that_returns_goes_on_and_one_that_is_forgotten_is_not_seen() -> None:
    registry = CollectorRegistry()
    times = StageTimes("stage_seconds", "Seconds.", BOUNDS, STAGES, registry)
    for _ in range(2):
        times.of_version("cat", "1").observe(0.25, 0.5)
    times.of_version("cat", "2").observe(0.25, 0.5)
    labels = {"model": "cat", "version": "1", "stage": "infer"}
    assert registry.get_sample_value("stage_seconds_count", labels) == 2
    assert registry.get_sample_value("stage_seconds_sum", labels) == 1.0
    times.forget("cat", "1")
    assert registry.get_sample_value("stage_seconds_count", labels) is None
    assert registry.get_sample_value("stage_seconds_count", {**labels, "version": "2"}) == 1


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    StageTimes("stage_seconds", "Seconds.", BOUNDS, STAGES, registry)
    with pytest.raises(ValueError, match="stage_seconds"):
        Histogram("stage_seconds", "Seconds.", registry=registry)
