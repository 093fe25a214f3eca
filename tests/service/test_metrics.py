import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from service.metrics import (
    BATCH_SIZES,
    CLOSINGS,
    KEPT_VERSIONS,
    LAG_SECONDS,
    OUTCOMES,
    SECONDS,
    STAGES,
    Metrics,
)


def families(registry: CollectorRegistry) -> dict[str, Metric]:
    return {family.name: family for family in registry.collect()}


def test_two_apps_of_one_process_share_no_counter() -> None:
    one, other = Metrics(), Metrics()
    one.errors.labels("/v1/classify", "broken_image").inc()
    labels = {"route": "/v1/classify", "code": "broken_image"}
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
    metrics.of_version("cat", 1)
    read = metrics.registry.get_sample_value
    for outcome in OUTCOMES:
        assert (
            read("foveal_images_total", {"model": "cat", "version": "1", "outcome": outcome}) == 0
        )
    for closed in CLOSINGS:
        assert read("foveal_batches_total", {"model": "cat", "version": "1", "closed": closed}) == 0
    for stage in STAGES:
        assert (
            read("foveal_stage_seconds_count", {"model": "cat", "version": "1", "stage": stage})
            == 0
        )
    assert read("foveal_batch_size_count", {"model": "cat", "version": "1"}) == 0
    assert read("foveal_macs_total", {"model": "cat", "version": "1"}) == 0


def test_what_a_model_counts_lands_in_its_own_series() -> None:
    metrics = Metrics()
    cat, dog = (metrics.of_version(name, 1) for name in ("cat", "dog"))
    cat.outcome["answered"].inc(2)
    cat.closed["full"].inc()
    cat.stage_times.observe(0.0, 0.0, 0.004, 0.0)
    dog.batch_size.observe(3)
    read = metrics.registry.get_sample_value
    assert read("foveal_images_total", {"model": "cat", "version": "1", "outcome": "answered"}) == 2
    assert read("foveal_batches_total", {"model": "cat", "version": "1", "closed": "full"}) == 1
    assert (
        read("foveal_stage_seconds_sum", {"model": "cat", "version": "1", "stage": "infer"})
        == 0.004
    )
    assert read("foveal_batch_size_sum", {"model": "dog", "version": "1"}) == 3
    assert read("foveal_batch_size_sum", {"model": "cat", "version": "1"}) == 0


def count_a_request(metrics: Metrics, model: str, version: int) -> None:
    answered, duration, received = metrics.of_request("/v1/classify", model, version, 200)
    answered.inc()
    duration.observe(0.01)
    received.inc(5)


def count_everything(metrics: Metrics, version: int) -> None:
    """Serve a version, count what can be counted of it, and remove it."""
    metrics.version_added("cat", version)
    count_a_request(metrics, "cat", version)
    series = metrics.of_version("cat", version)
    series.stage_times.observe(0.1, 0.1, 0.1, 0.1)
    series.outcome["answered"].inc()
    metrics.statistics.of_version("cat", version).ran(1, 0.1, [0.1])
    metrics.version_removed("cat", version)


def series_of_versions(metrics: Metrics) -> dict[str, set[str]]:
    """Return the names of the series of each version that has some."""
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.labels.get("model") == "cat":
                found.setdefault(sample.labels["version"], set()).add(sample.name)
    return found


def test_a_service_that_gets_new_versions_for_years_has_the_series_of_a_few() -> None:
    metrics = Metrics()
    for version in range(1, 3 * KEPT_VERSIONS):
        count_everything(metrics, version)
    found = series_of_versions(metrics)
    assert set(found) == {str(2 * KEPT_VERSIONS + number) for number in range(KEPT_VERSIONS)}
    assert len(set(map(frozenset, found.values()))) == 1


def test_a_removed_version_keeps_its_counts_and_goes_on_where_it_returns() -> None:
    metrics = Metrics()
    count_everything(metrics, 1)
    metrics.version_added("cat", 1)
    for version in range(2, 3 * KEPT_VERSIONS):  # it is served while these come and go
        count_everything(metrics, version)
    count_a_request(metrics, "cat", 1)
    labels = {"route": "/v1/classify", "model": "cat", "version": "1", "status": "200"}
    assert metrics.registry.get_sample_value("foveal_requests_total", labels) == 2


def test_a_request_that_ends_after_its_version_was_forgotten_makes_no_series_of_it() -> None:
    metrics = Metrics()
    for version in range(1, 3 * KEPT_VERSIONS):
        count_everything(metrics, version)
    count_a_request(metrics, "cat", 1)
    assert "1" not in series_of_versions(metrics)
    labels = {"route": "/v1/classify", "model": "", "version": "", "status": "200"}
    assert metrics.registry.get_sample_value("foveal_requests_total", labels) == 1


@pytest.mark.parametrize("buckets", [SECONDS, LAG_SECONDS, BATCH_SIZES])
def test_buckets_rise(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


def names_in(metrics: Metrics, family: str) -> set[str]:
    return {
        sample.labels["model"]
        for found in metrics.registry.collect()
        for sample in found.samples
        if sample.name.startswith(family) and sample.labels.get("model")
    }


def test_names_of_models_that_come_and_go_leave_no_series_behind() -> None:
    metrics = Metrics()
    metrics.version_added("stays", 1)
    metrics.model_changed("stays", "loaded")
    for number in range(3 * KEPT_VERSIONS):
        name = f"model{number}"
        metrics.version_added(name, 1)
        metrics.model_changed(name, "loaded")
        metrics.cache_images.labels(name, "miss").inc()
        metrics.model_changed(name, "removed")
        metrics.version_removed(name, 1)
        metrics.model_changed(f"refused{number}", "refused")
    for family in ("foveal_model_changes_total", "foveal_cache_images_total"):
        found = names_in(metrics, family)
        assert f"model{3 * KEPT_VERSIONS - 1}" in found
        assert len(found) <= 2 * KEPT_VERSIONS + 1
    assert "stays" in names_in(metrics, "foveal_model_changes_total")


def test_chains_that_come_and_go_leave_no_series_behind() -> None:
    metrics = Metrics()
    for number in range(3 * KEPT_VERSIONS):
        name = f"chain{number}"
        metrics.name_chains({"stays", name})
        for one in ("stays", name):
            metrics.of_request("/v1/chain", one, 0, 200)[0].inc()
    found = names_in(metrics, "foveal_requests_total")
    last = {f"chain{3 * KEPT_VERSIONS - 1 - ago}" for ago in range(KEPT_VERSIONS + 1)}
    assert found == {"stays"} | last
    assert names_in(metrics, "foveal_request_seconds_count") == found
