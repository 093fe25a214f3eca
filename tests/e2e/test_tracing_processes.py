"""Tracing in processes as users start them: collectors that fail, several workers, and settings that are not valid."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.collector import Collector, collect
from tests.images import plain
from tests.live import Process, start
from tests.samples import openmetrics
from tests.servables import write_servable


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_servable(folder)
    return folder


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collect() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield found


def classify(service: Process, **headers: str) -> httpx.Response:
    answer = httpx.post(
        f"{service.url}/v1/classify", content=plain("red"), headers=headers, timeout=10
    )
    assert answer.status_code == 200
    return answer


def spans(service: Process) -> dict[str, float]:
    """Return the spans that are counted, by outcome."""
    text = httpx.get(
        f"{service.url}/metrics", headers={"accept": "application/openmetrics-text"}
    ).text
    return {
        sample.labels["outcome"]: sample.value
        for sample in openmetrics(text)
        if sample.name == "foveal_spans_total"
    }


def end(service: Process) -> None:
    service.process.send_signal(signal.SIGTERM)
    assert service.wait_for_exit() == 0


def test_a_collector_that_hangs_costs_spans_and_no_answer(
    models: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    collector.held.clear()
    with start(models=models, tracing="true", grace_seconds=0, workers=1) as service:
        classify(service)
        collector.wait_for_posts(1)
        for _ in range(10):
            classify(service)
        assert spans(service)["dropped"] >= 7 * 8
        assert len(service.logged("does not take spans")) == 0  # it has not refused them
        assert len(service.logged(r"takes spans more slowly than they come, or hangs")) == 1
        end(service)
        assert service.logged(r"^\d+ spans were not sent to http://127.0.0.1:\d+ before the end$")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_collector_that_redirects_takes_no_spans(
    models: Path, collector: Collector, status: int
) -> None:
    collector.status = status
    with start(models=models, tracing="true", grace_seconds=0, workers=1) as service:
        classify(service)
        collector.wait_for_posts(1)
        end(service)
        assert len(service.logged("does not take spans")) == 1


def test_a_collector_that_refuses_is_named_once_and_again_when_it_takes_them(
    models: Path, collector: Collector
) -> None:
    collector.status = 500
    with start(models=models, tracing="true", grace_seconds=0) as service:
        for count in (1, 2):
            classify(service)
            collector.wait_for_posts(count)
        collector.status = 200
        trace_id = classify(service).headers["traceresponse"].split("-")[1]
        assert collector.trace(trace_id)
        end(service)
    assert len(service.logged(f"^{collector.url} does not take spans; .*OTEL_EXPORTER_")) == 1
    assert len(service.logged(f"^{collector.url} takes spans again; 14 were lost$")) == 1


def test_where_no_collector_listens_requests_are_answered_and_spans_counted(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:SECRET@127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with start(models=models, tracing="true", grace_seconds=0) as service:
        for _ in range(3):
            classify(service)
        end(service)
    (line,) = service.logged(rf"^http://127.0.0.1:{port} does not take spans")
    assert "SECRET" not in json.dumps(service.lines)
    assert line


def test_what_waits_is_sent_before_the_process_ends(
    models: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with start(models=models, tracing="true", grace_seconds=0) as service:
        ids = {classify(service).headers["traceresponse"].split("-")[1] for _ in range(3)}
        assert not collector.spans
        end(service)
    assert {span.trace_id for span in collector.spans if span.kind == 2} == ids


def test_lines_of_the_log_name_the_trace(models: Path, collector: Collector) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    assert collector.url
    with start(models=models, tracing="true", grace_seconds=0) as service:
        traced = classify(service).headers["traceresponse"].split("-")
        classify(service, traceparent=parent)
        end(service)
    first, second = [line for line in service.lines if line["message"] == "POST /v1/classify 200"]
    assert [first[key] for key in ("trace_id", "span_id", "trace_flags")] == traced[1:]
    assert second["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert second["trace_flags"] == "00"
    assert "trace_id" not in service.lines[0]


def test_every_worker_sends_its_own_spans_and_one_scrape_has_all(
    models: Path, collector: Collector
) -> None:
    with start(models=models, tracing="true", workers=2, grace_seconds=0) as service:
        processes: dict[str, str] = {}
        while len(processes) < 2:  # bounded by the time of the test
            answer = classify(service)
            trace_id = answer.headers["traceresponse"].split("-")[1]
            (request,) = [span for span in collector.trace(trace_id) if span.kind == 2]
            own = request.resource["service.instance.id"]
            processes[answer.headers["x-request-id"][:20]] = own
        assert len(set(processes.values())) == 2
        scrape = httpx.get(
            f"{service.url}/metrics", headers={"accept": "application/openmetrics-text"}
        )
        named = [
            sample.exemplar.labels["trace_id"]
            for sample in openmetrics(scrape.text)
            if sample.exemplar
        ]
        assert trace_id in named
        end(service)


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none"])
def test_the_environment_can_turn_it_off(
    models: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("=", 1))
    with start(models=models, tracing="true", grace_seconds=0) as service:
        assert "traceresponse" not in classify(service).headers
        assert spans(service) == {}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_the_packages_the_start_says_what_to_install(
    models: Path, tmp_path: Path, workers: str
) -> None:
    missing = tmp_path / "opentelemetry" / "sdk" / "__init__.py"
    missing.parent.mkdir(parents=True)
    missing.write_text("raise ModuleNotFoundError('no such module', name='opentelemetry.sdk')")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "FOVEAL_MODELS": str(models),
        "FOVEAL_PORT": "0",
        "FOVEAL_TRACING": "true",
        "FOVEAL_WORKERS": workers,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "service.cli", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    said = " ".join((ended.stdout + ended.stderr).split())
    assert "a package of OpenTelemetry is not installed (opentelemetry.sdk)" in said
    assert "pip install -e '.[otel]'" in said
    assert "Traceback" not in said


def test_while_it_is_off_nothing_that_sends_spans_is_imported() -> None:
    program = (
        "import sys, service.cli; "
        "print([one for one in sys.modules if one.startswith(('opentelemetry.sdk', 'opentelemetry.exp'))])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
