import math

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from service.metrics import Metrics
from service.processes.metrics_merge import (
    ACROSS_PROCESSES,
    Families,
    lasting,
    merge,
    read_families,
    write_families,
)
from tests.samples import openmetrics


def process(seconds: float, *, ready: int, route: str = "/v1/classify") -> CollectorRegistry:
    """Return what one process counted: a request of so many seconds."""
    metrics = Metrics()
    metrics.build_info.labels("1", "2").set(1)
    metrics.of_version("lenet5", 1)
    answered, duration, _ = metrics.of_request(route, "lenet5", 1, 200)
    answered.inc()
    duration.observe(seconds)
    metrics.queue_capacity.labels("lenet5", 1).set(256)
    metrics.model_ready.labels("lenet5", 1).set(ready)
    return metrics.registry


def samples(families: list[Metric]) -> dict[tuple[str, ...], float]:
    """Return each series' value by its name and its label values, in the order of their labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def both() -> list[Metric]:
    one, other = process(0.0004, ready=1), process(0.04, ready=0)
    return merge([one.collect(), other.collect()])


def test_counts_and_amounts_are_summed() -> None:
    found = samples(both())
    assert found["foveal_requests_total", "lenet5", "/v1/classify", "200", "1"] == 2
    assert found["foveal_queue_capacity", "lenet5", "1"] == 512
    assert found["foveal_request_seconds_count", "lenet5", "/v1/classify", "1"] == 2
    assert found["foveal_request_seconds_bucket", "0.0005", "lenet5", "/v1/classify", "1"] == 1
    assert found["foveal_request_seconds_bucket", "+Inf", "lenet5", "/v1/classify", "1"] == 2
    assert math.isclose(found["foveal_request_seconds_sum", "lenet5", "/v1/classify", "1"], 0.0404)


def test_a_cache_that_processes_share_counts_once_and_its_place_where_all_reach_it() -> None:
    one, other = Metrics(), Metrics()
    for metrics, size, reachable in ((one, 100, 1), (other, 300, 0)):
        metrics.storage.cache_bytes.set(size)
        metrics.storage.reachable.set(reachable)
        metrics.storage.failed("denied")
    found = samples(merge([one.registry.collect(), other.registry.collect()]))
    assert found[("foveal_storage_cache_bytes",)] == 300
    assert found[("foveal_storage_reachable",)] == 0
    assert found["foveal_storage_failures_total", "denied"] == 2


def test_facts_are_reported_once_and_a_model_is_ready_where_all_have_it_ready() -> None:
    found = samples(both())
    assert found["foveal_build_info", "2", "1"] == 1
    assert found["foveal_model_ready", "lenet5", "1"] == 0


def test_every_family_with_its_own_rule_exists() -> None:
    names = {family.name for family in Metrics().registry.collect()}
    assert set(ACROSS_PROCESSES) <= names


def test_a_series_that_one_process_alone_has_stays() -> None:
    one, other = process(1, ready=1), process(1, ready=1, route="/v1/embed")
    found = samples(merge([one.collect(), other.collect()]))
    assert found["foveal_requests_total", "lenet5", "/v1/classify", "200", "1"] == 1
    assert found["foveal_requests_total", "lenet5", "/v1/embed", "200", "1"] == 1


def test_prometheus_parses_the_merged_metrics_in_both_of_its_formats() -> None:
    one, other = process(1, ready=1), process(1, ready=1, route="/v1/embed")
    families = merge([one.collect(), other.collect()])
    text = generate_latest(Families(families)).decode()
    openmetrics = generate_openmetrics(Families(families)).decode()  # type: ignore[no-untyped-call]
    assert samples(list(parse_text(text))) == samples(families)
    parsed = parse_openmetrics(openmetrics)  # type: ignore[no-untyped-call]
    assert samples(list(parsed)) == samples(families)


def test_families_survive_the_way_to_another_process() -> None:
    families = both()
    assert samples(read_families(write_families(families))) == samples(families)


def test_counters_and_histograms_outlive_their_process() -> None:
    assert {family.type for family in lasting(both())} == {"counter", "histogram"}


def test_the_newest_example_of_a_bucket_stays_with_its_trace() -> None:
    parts = []
    for trace_id in ("a" * 32, "b" * 32):
        metrics = Metrics()
        times = metrics.of_version("lenet5", 1).stage_times
        times.observe(0.1, 0.2, 0.3, 0.4)
        times.exemplify(trace_id, 0.1, 0.2, 0.3, 0.4)
        parts.append(read_families(write_families(metrics.registry.collect())))
    for order in (parts, parts[::-1]):
        text = generate_openmetrics(Families(merge(order))).decode()  # type: ignore[no-untyped-call]
        named = [sample.exemplar for sample in openmetrics(text) if sample.exemplar]
        assert [one.labels for one in named] == [{"trace_id": "b" * 32}] * 4
        assert sorted(one.value for one in named) == [0.1, 0.2, 0.3, 0.4]
