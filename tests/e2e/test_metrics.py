import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.images import photograph
from tests.live import Live

REQUIRED = {
    "foveal_requests", "foveal_request_seconds", "foveal_stage_seconds", "foveal_batch_size", "foveal_batches",
    "foveal_queue_depth", "foveal_requests_in_flight", "foveal_request_bytes", "foveal_macs", "foveal_model_info",
    "foveal_event_loop_lag_seconds", "process_cpu_seconds", "process_resident_memory_bytes",
}  # fmt: skip


def scrape(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_what_is_scraped(client: httpx.Client) -> None:
    client.post("/v1/classify", content=photograph("chelsea"))
    families = {
        family.name for family in text_string_to_metric_families(client.get("/metrics").text)
    }
    assert families >= REQUIRED


def test_strangers_never_make_a_new_series(client: httpx.Client) -> None:
    def be_strange(turn: int) -> None:
        client.post(f"/v1/classify?model=stranger-{turn}", content=b"x")
        client.post(f"/v1/classify?version={turn + 2}", content=b"x")
        client.get(f"/v1/models/stranger-{turn}")
        client.get(f"/stranger/{turn}")
        client.request(
            "PATCH", f"/v1/classify/{turn}", headers={"X-Request-ID": f"stranger-{turn}"}
        )

    be_strange(0)
    client.get("/metrics")
    before = set(scrape(client))
    for turn in range(1, 20):
        be_strange(turn)
    assert set(scrape(client)) == before
    assert not any("stranger" in str(series) for series in before)


def test_a_image_is_counted_where_it_went(live: Live, client: httpx.Client) -> None:
    image = photograph("coffee")
    before = scrape(client)
    assert client.post("/v1/classify", content=image).status_code == 200
    after = scrape(client)

    def grew(name: str, **labels: str) -> float:
        series = (name, tuple(sorted(labels.items())))
        return after.get(series, 0) - before.get(series, 0)

    version = "1"

    model, route = "efficientnet-lite0", "/v1/classify"
    macs = live.services.engine.registry.versions(model)[0].card.cost.macs
    assert (
        grew("foveal_requests_total", route=route, model=model, version=version, status="200") == 1
    )
    assert grew("foveal_request_seconds_count", route=route, model=model, version=version) == 1
    assert grew("foveal_request_bytes_total", route=route) == len(image)
    assert grew("foveal_macs_total", model=model, version=version) == macs
    assert grew("foveal_images_total", model=model, version=version, outcome="answered") == 1
    for stage in ("decode", "queue", "infer", "head"):
        assert grew("foveal_stage_seconds_count", model=model, version=version, stage=stage) == 1


def test_the_model_says_how_it_is_served(live: Live, client: httpx.Client) -> None:
    info = [labels for (name, labels) in scrape(client) if name == "foveal_model_info"]
    served = [dict(labels) for labels in info]
    lite = next(one for one in served if one["model"] == "efficientnet-lite0")
    assert lite["version"] == "1"
    assert lite["task"] == "classify"
    assert lite["precision"] == "fp32"
    assert lite["device"] == live.services.engine.registry.device.name


def test_the_event_loop_is_watched(live: Live) -> None:
    assert live.sample("foveal_event_loop_lag_seconds_count") > 0
