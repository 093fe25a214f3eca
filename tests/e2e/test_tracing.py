"""Traces as a collector gets them: the real wire, from a server on a real socket."""

import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.clips import counting
from tests.collector import Collector, Seen, collect, one
from tests.images import photograph, plain
from tests.live import MODELS, Live, serve
from tests.samples import openmetrics
from tests.servables import write_servable

SERVER = 2
"""`SPAN_KIND_SERVER` of the protocol."""
FAILED = 2
"""`STATUS_CODE_ERROR` of the protocol."""
PARENT = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collect() as found, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        patch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        yield found


@pytest.fixture(scope="module")
def live(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    models = tmp_path_factory.mktemp("models")
    for name in ("digits", "lenet5", "unet-digits"):
        (models / name).symlink_to(MODELS / name)
    assert collector.url
    with serve(models=models, tracing=True, max_delay_ms=0) as service:
        yield service


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=15) as http:
        yield http


def traceparent(flags: str = "01") -> tuple[str, str]:
    trace_id = os.urandom(16).hex()
    return trace_id, f"00-{trace_id}-{PARENT}-{flags}"


def spans_of(collector: Collector, answer: httpx.Response) -> tuple[Seen, list[Seen]]:
    """Return the span of an answered request, and all spans of its trace."""
    version, trace_id, span_id, flags = answer.headers["traceresponse"].split("-")
    assert (version, flags) == ("00", "01")
    spans = collector.trace(trace_id)
    (request,) = [span for span in spans if span.kind == SERVER]
    assert request.span_id == span_id
    assert all(span.within(request) for span in spans)
    return request, spans


def test_a_request_is_a_span_and_its_stages_are_its_parts(
    client: httpx.Client, collector: Collector
) -> None:
    answer = client.post("/v1/classify?model=lenet5", content=photograph("chelsea"))
    request, spans = spans_of(collector, answer)
    assert request.name == "POST /v1/classify"
    assert request.parent_id == ""
    assert request.attributes.items() >= {
        ("http.request.method", "POST"),
        ("http.route", "/v1/classify"),
        ("http.response.status_code", 200),
        ("url.path", "/v1/classify"),
        ("url.scheme", "http"),
        ("http.request.body.size", len(photograph("chelsea"))),
        ("foveal.model.name", "lenet5"),
        ("foveal.model.version", "1"),
        ("foveal.images", 1),
        ("foveal.batch.size", 1),
    }
    parts = sorted(span.name for span in spans if span.parent_id == request.span_id)
    assert parts == ["batch", "decode", "head", "infer", "queue", "receive"]
    assert len(spans) == 7
    order = [one(spans, name) for name in ("receive", "queue", "decode", "infer", "head")]
    assert all(before.ended <= after.began for before, after in pairwise(order))
    batch = one(spans, "batch")
    assert all(span.within(batch) for span in order[2:])
    assert order[1].ended == pytest.approx(batch.began, abs=1000)
    assert request.resource["service.name"] == "foveal"
    assert request.resource["deployment.environment.name"] == "test"
    assert collector.paths == {"/v1/traces"}


def test_the_spans_take_what_the_answer_says_that_the_stages_took(
    client: httpx.Client, collector: Collector
) -> None:
    answer = client.post("/v1/classify?model=lenet5", content=photograph("chelsea"))
    said = dict(re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["server-timing"]))
    _, spans = spans_of(collector, answer)
    took = one(spans, "infer")
    assert (took.ended - took.began) / 1e6 == pytest.approx(float(said["infer"]), abs=0.01)
    for stage in ("decode", "head"):  # the span has the clock's own calls in it
        found = one(spans, stage)
        assert (found.ended - found.began) / 1e6 >= float(said[stage]) - 0.01


def test_a_run_and_its_batch_and_the_request_lead_to_each_other(
    client: httpx.Client, collector: Collector
) -> None:
    answer = client.post("/v1/classify?model=lenet5", content=photograph("chelsea"))
    request, spans = spans_of(collector, answer)
    batch, infer = one(spans, "batch"), one(spans, "infer")
    assert infer.links == [(batch.trace_id, batch.span_id)]
    assert batch.links == [(request.trace_id, request.span_id)]
    for span in (batch, infer):
        assert span.attributes == {
            "foveal.model.name": "lenet5",
            "foveal.model.version": "1",
            "foveal.device": "cpu",
            "foveal.batch.size": 1,
        }


def test_a_callers_trace_goes_on(client: httpx.Client, collector: Collector) -> None:
    trace_id, parent = traceparent()
    headers = {"traceparent": parent, "tracestate": "rojo=00f067aa, congo=t61rcWkgMzE"}
    answer = client.post("/v1/classify", content=plain("red"), headers=headers)
    request, spans = spans_of(collector, answer)
    assert (request.trace_id, request.parent_id) == (trace_id, PARENT)
    assert {span.state for span in spans} == {"rojo=00f067aa,congo=t61rcWkgMzE"}


@pytest.mark.parametrize(
    "given",
    [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" + "0" * 4000,
        "\xff" * 55,
        "",
    ],
)
def test_a_malformed_parent_is_ignored(
    client: httpx.Client, collector: Collector, given: str
) -> None:
    headers = {b"traceparent": given.encode("latin-1")}
    answer = client.post("/v1/classify", content=plain("red"), headers=headers)
    assert answer.status_code == 200
    request, _ = spans_of(collector, answer)
    assert request.parent_id == ""
    assert "4bf92f35" not in request.trace_id.lower()


def test_two_parents_are_none(client: httpx.Client, collector: Collector) -> None:
    headers = [("traceparent", traceparent()[1]), ("traceparent", traceparent()[1])]
    answer = client.post("/v1/classify", content=plain("red"), headers=headers)
    request, _ = spans_of(collector, answer)
    assert request.parent_id == ""


@pytest.mark.parametrize("state", ["no state", "a=" + "x" * 9000, "=,=,=", "a=1,a=2"])
def test_a_malformed_state_is_lost_and_the_parent_holds(
    client: httpx.Client, collector: Collector, state: str
) -> None:
    trace_id, parent = traceparent()
    headers = {"traceparent": parent, "tracestate": state}
    request, _ = spans_of(
        collector, client.post("/v1/classify", content=plain("red"), headers=headers)
    )
    assert (request.trace_id, request.parent_id, request.state) == (trace_id, PARENT, "")


def test_a_later_version_of_the_header_is_read(client: httpx.Client, collector: Collector) -> None:
    trace_id = os.urandom(16).hex()
    headers = {"traceparent": f"cc-{trace_id}-{PARENT}-01-what-the-future-holds"}
    request, _ = spans_of(
        collector, client.post("/v1/classify", content=plain("red"), headers=headers)
    )
    assert (request.trace_id, request.parent_id) == (trace_id, PARENT)


def test_a_caller_that_does_not_sample_is_followed(
    client: httpx.Client, collector: Collector
) -> None:
    trace_id, parent = traceparent("00")
    quiet = client.post("/v1/classify", content=plain("red"), headers={"traceparent": parent})
    _, given, _, flags = quiet.headers["traceresponse"].split("-")
    assert (given, flags) == (trace_id, "00")
    later = client.post("/v1/classify", content=plain("red"))
    _, spans = spans_of(collector, later)  # spans are sent in order
    assert spans
    assert not [span for span in collector.spans if span.trace_id == trace_id]


def test_every_image_of_a_request_has_its_stages(
    client: httpx.Client, collector: Collector
) -> None:
    files = [("file", plain(color)) for color in ("red", "green", "blue")]
    files.append(("file", b"no image"))
    answer = client.post("/v1/classify", files=files)
    request, spans = spans_of(collector, answer)
    names = [span.name for span in spans]
    assert [names.count(stage) for stage in ("queue", "decode", "infer", "head")] == [4, 4, 3, 3]
    batches = {(span.trace_id, span.span_id): span for span in spans if span.name == "batch"}
    infers = [span for span in spans if span.name == "infer"]
    assert {link for span in infers for link in span.links} == set(batches)
    assert all(span.within(batches[span.links[0]]) for span in infers)
    assert request.attributes["foveal.images"] == 4
    (bad,) = [span for span in spans if span.status == FAILED]
    assert (bad.name, bad.attributes["error.type"]) == ("decode", "unsupported_image")


def test_drawing_ends_with_encoding(client: httpx.Client, collector: Collector) -> None:
    answer = client.post("/v1/segment?format=overlay", content=photograph("chelsea"))
    assert answer.headers["content-type"] == "image/jpeg"
    _, spans = spans_of(collector, answer)
    head, encode = one(spans, "head"), one(spans, "encode")
    assert encode.parent_id == head.span_id
    assert encode.within(head)
    assert encode.attributes == {"foveal.format": "jpeg"}


@pytest.mark.parametrize(
    ("path", "around"),
    [
        ("/v1/explain?model=lenet5&view=occlusion&samples=16&format=sheet", "explain"),
        ("/v1/chain?format=overlay", ""),
    ],
)
def test_the_many_runs_of_a_fan_out_are_its_parts(
    client: httpx.Client, collector: Collector, path: str, around: str
) -> None:
    answer = client.post(path, content=photograph("chelsea"))
    assert answer.status_code == 200, answer.text
    request, spans = spans_of(collector, answer)
    by_id = {span.span_id: span for span in spans}
    assert all(span is request or by_id[span.parent_id] for span in spans)
    fans = [span for span in spans if span.name == "fan_out"]
    assert fans
    for fan in fans:
        assert by_id[fan.parent_id].name == (around or request.name)
        parts = [span for span in spans if span.parent_id == fan.span_id]
        infers = [span for span in parts if span.name == "infer"]
        assert len(infers) == fan.attributes["foveal.images"]
        assert all(span.within(fan) for span in parts)
    assert [span for span in spans if span.name == "encode"]


def test_a_video_fans_out_into_its_frames_and_no_more_than_a_bound_are_noted(
    client: httpx.Client, collector: Collector
) -> None:
    answer = client.post("/v1/video?task=classify&fps=20", content=counting(80))
    request, spans = spans_of(collector, answer)
    fan = one(spans, "fan_out")
    assert fan.attributes["foveal.images"] > 64
    assert len([span for span in spans if span.name == "infer"]) == 64
    assert request.attributes["foveal.spans.unnoted"] >= fan.attributes["foveal.images"] - 64
    assert one(spans, "receive")


def test_the_fault_of_a_client_is_no_failure_of_the_service(
    client: httpx.Client, collector: Collector
) -> None:
    for path, body, status, code in (
        ("/v1/classify", b"no image", 415, "unsupported_image"),
        ("/v1/classify?top_k=x", b"", 422, "invalid_parameter"),
        ("/nothing/at/all", b"", 404, "not_found"),
    ):
        answer = client.post(path, content=body)
        request, _ = spans_of(collector, answer)
        assert answer.status_code == status
        assert request.status != FAILED
        assert "error.type" not in request.attributes
        assert request.attributes["foveal.error.code"] == code
        assert request.attributes["http.response.status_code"] == status
    assert request.name == "POST"
    assert "http.route" not in request.attributes


def test_an_answer_that_is_late_is_a_failure_with_its_code(
    client: httpx.Client, collector: Collector
) -> None:
    headers = {"x-timeout-ms": "0.01"}
    answer = client.post("/v1/classify", content=photograph("chelsea"), headers=headers)
    request, _ = spans_of(collector, answer)
    assert answer.status_code == 504
    assert request.status == FAILED
    assert request.attributes["error.type"] == answer.json()["code"]


def test_other_protocols_and_pages_are_traced_too(
    client: httpx.Client, collector: Collector
) -> None:
    for path in ("/v2/models/lenet5", "/v1/models"):
        request, spans = spans_of(collector, client.get(path))
        assert request.attributes["http.response.status_code"] == 200
        assert request.name.startswith("GET /")
        assert spans == [request]
    odd, _ = spans_of(collector, client.request("PROPFIND", "/v1/models"))
    assert odd.name == "HTTP /v1/models"
    assert odd.attributes["http.request.method"] == "_OTHER"
    assert odd.attributes["http.request.method_original"] == "PROPFIND"


@pytest.mark.parametrize("path", ["/health/ready", "/metrics", "/v2/health/live"])
def test_a_probe_is_traced_only_where_its_caller_traces_it(
    client: httpx.Client, collector: Collector, path: str
) -> None:
    assert "traceresponse" not in client.get(path).headers
    trace_id, parent = traceparent()
    request, _ = spans_of(collector, client.get(path, headers={"traceparent": parent}))
    assert request.trace_id == trace_id


def test_no_key_no_query_and_no_pixel_leaves_with_a_span(
    client: httpx.Client, collector: Collector
) -> None:
    image = photograph("chelsea")
    before = len(collector.spans)
    answer = client.post(
        "/v1/classify?top_k=2&token=QUERYSECRET",
        content=image,
        headers={
            "authorization": "Bearer KEYSECRET",
            "x-api-key": "KEYSECRET",
            "cookie": "KEYSECRET",
        },
    )
    spans_of(collector, answer)
    sent = repr(collector.spans[before:])
    assert "SECRET" not in sent
    assert "token" not in sent
    assert "Egyptian" not in sent


def test_a_path_in_any_writing_and_with_broken_bytes_is_sent(
    client: httpx.Client, collector: Collector
) -> None:
    for path in ("/%E7%8C%AB", "/%ED%A0%80%FF", "/%00"):
        request, _ = spans_of(collector, client.get(path))
        assert request.attributes["url.path"].startswith("/")


def test_values_that_a_client_chooses_are_cut(client: httpx.Client, collector: Collector) -> None:
    request, _ = spans_of(collector, client.get("/" + "x" * 5000))
    assert request.attributes["url.path"] == "/" + "x" * 255


def test_the_histograms_name_a_trace_where_the_scraper_asks_for_it(
    client: httpx.Client, collector: Collector
) -> None:
    answer = client.post("/v1/classify?model=lenet5", content=plain("red"))
    request, _ = spans_of(collector, answer)
    scrape = client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    named = {
        (sample.name, sample.labels.get("stage", sample.labels.get("route", "")))
        for sample in openmetrics(scrape.text)
        if sample.exemplar and sample.exemplar.labels == {"trace_id": request.trace_id}
    }
    assert named == {
        ("foveal_request_seconds_bucket", "/v1/classify"),
        *(("foveal_stage_seconds_bucket", one) for one in ("decode", "queue", "infer", "head")),
    }
    assert " # {" not in client.get("/metrics", headers={"accept": "text/plain"}).text


@pytest.fixture(scope="module")
def slow(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service of one thread that waits for 4 images."""
    models = tmp_path_factory.mktemp("models")
    write_servable(models)
    assert collector.url
    with serve(models=models, tracing=True, threads=1, max_batch=4, max_delay_ms=5000) as service:
        yield service


def test_a_batch_links_to_every_request_that_it_carried(slow: Live, collector: Collector) -> None:
    given = [traceparent(flags) for flags in ("01", "01", "01", "00")]

    def post(parent: str) -> httpx.Response:
        headers = {"traceparent": parent}
        return httpx.post(f"{slow.url}/v1/classify", content=plain("red"), headers=headers)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, [parent for _, parent in given]))
    traced = [spans_of(collector, answer) for answer in answers[:3]]
    assert "batch;desc=4" in answers[0].headers["server-timing"]
    ids = {trace_id for trace_id, _ in given}
    (batch,) = [span for span in collector.spans if span.name == "batch" and span.trace_id in ids]
    assert batch.attributes["foveal.batch.size"] == 4
    assert set(batch.links) == {(request.trace_id, request.span_id) for request, _ in traced}
    for _, spans in traced:
        infer = one(spans, "infer")
        assert infer.links == [(batch.trace_id, batch.span_id)]
        assert infer.within(batch)


def test_a_client_that_leaves_the_queue_leaves_a_whole_trace(
    slow: Live, collector: Collector
) -> None:
    trace_id, parent = traceparent()
    image = plain("red")
    with socket.create_connection(slow.address) as client:
        client.sendall(
            b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ntraceparent: %b\r\ncontent-length: %d\r\n\r\n"
            % (parent.encode(), len(image))
            + image
        )
        while not slow.sample("foveal_queue_depth"):
            pass
    spans = collector.trace(trace_id)
    (request,) = [span for span in spans if span.kind == SERVER]
    assert request.attributes["http.response.status_code"] == 499
    queue = one(spans, "queue")
    assert queue.attributes["error.type"] == "client_left"
    assert queue.within(request)
    assert {span.name for span in spans} == {"POST /v1/classify", "receive", "queue"}


def test_a_model_that_is_loaded_for_a_request_and_an_answer_that_is_kept_are_seen(
    collector: Collector, tmp_path: Path
) -> None:
    for name in ("colors", "paint"):
        write_servable(tmp_path, name)
    with serve(
        models=tmp_path,
        tracing=True,
        models_memory_bytes=1,
        models_stay_seconds=0,
        response_cache_bytes=2**20,
    ) as service:
        first, again = [
            spans_of(
                collector,
                httpx.post(f"{service.url}/v1/classify?model=colors", content=plain("red")),
            )
            for _ in range(2)
        ]
    request, spans = first
    load = one(spans, "load")
    assert load.ended <= one(spans, "queue").began
    assert load.attributes == {"foveal.model.name": "colors"}
    request, spans = again
    assert request.attributes["foveal.cache"] == "foveal; hit"
    assert {span.name for span in spans} == {"POST /v1/classify", "receive"}
    own = request.resource["service.instance.id"]
    sent = [span for span in collector.spans if span.resource["service.instance.id"] == own]
    assert service.sample("foveal_spans_total", outcome="sent") == len(sent)
    assert service.sample("foveal_spans_total", outcome="failed") == 0
    assert service.sample("foveal_spans_total", outcome="dropped") == 0
