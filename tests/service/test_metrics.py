import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from service.metrics import BATCH_SIZES, CLOSINGS, LAG_SECONDS, OUTCOMES, SECONDS, STAGES, Metrics


def families(registry: CollectorRegistry) -> dict[str, Metric]:
    return {family.name: family for family in registry.collect()}


def test_two_apps_of_one_process_share_no_counter() -> None:
    one, other = Metrics(), Metrics()
    one.errors.labels("broken_image").inc()
    labels = {"code": "broken_image"}
    assert one.registry.get_sample_value("foveal_errors_total", labels) == 1
    assert other.registry.get_sample_value("foveal_errors_total", labels) is None


def test_names_say_what_is_counted_in_which_unit() -> None:
    for name, family in families(Metrics().registry).items():
        if name.startswith("foveal_"):
            assert re.fullmatch(r"foveal_[a-z_]+[a-z]", name)
            assert family.documentation
            assert (family.type == "histogram") <= name.endswith(("_seconds", "_size"))


def test_the_process_and_its_python_are_measured_too() -> None:
    text = generate_latest(Metrics().registry).decode()
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text
    assert "python_gc_collections_total" in text


def test_the_series_of_a_model_stand_at_zero_from_the_start() -> None:
    metrics = Metrics()
    metrics.of_model("cat", lambda: 0.0)
    read = metrics.registry.get_sample_value
    for outcome in OUTCOMES:
        assert read("foveal_images_total", {"model": "cat", "outcome": outcome}) == 0
    for closed in CLOSINGS:
        assert read("foveal_batches_total", {"model": "cat", "closed": closed}) == 0
    for stage in STAGES:
        assert read("foveal_stage_seconds_count", {"model": "cat", "stage": stage}) == 0
    assert read("foveal_batch_size_count", {"model": "cat"}) == 0
    assert read("foveal_macs_total", {"model": "cat"}) == 0


def test_the_depth_of_a_queue_is_read_at_each_scrape() -> None:
    metrics, waiting = Metrics(), [3.0]
    metrics.of_model("cat", lambda: waiting[0])
    assert metrics.registry.get_sample_value("foveal_queue_depth", {"model": "cat"}) == 3
    waiting[0] = 5.0
    assert metrics.registry.get_sample_value("foveal_queue_depth", {"model": "cat"}) == 5


def test_what_a_model_counts_lands_in_its_own_series() -> None:
    metrics = Metrics()
    cat, dog = (metrics.of_model(name, lambda: 0.0) for name in ("cat", "dog"))
    cat.outcome["answered"].inc(2)
    cat.closed["full"].inc()
    cat.stage_times.observe(0.0, 0.0, 0.004, 0.0)
    dog.batch_size.observe(3)
    read = metrics.registry.get_sample_value
    assert read("foveal_images_total", {"model": "cat", "outcome": "answered"}) == 2
    assert read("foveal_batches_total", {"model": "cat", "closed": "full"}) == 1
    assert read("foveal_stage_seconds_sum", {"model": "cat", "stage": "infer"}) == 0.004
    assert read("foveal_batch_size_sum", {"model": "dog"}) == 3
    assert read("foveal_batch_size_sum", {"model": "cat"}) == 0


@pytest.mark.parametrize("buckets", [SECONDS, LAG_SECONDS, BATCH_SIZES])
def test_buckets_rise(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))
