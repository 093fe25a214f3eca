"""What machines ask: live, ready and counted, of one process and of several."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service.app import create_app
from service.engine import Engine, open_engine
from service.settings import Settings

pytestmark = pytest.mark.anyio


class Peers:
    """All processes of a service, as one of them reports on them."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = list(reasons)
        self.encoded: list[Callable[[Collector], bytes]] = []

    async def not_ready(self) -> list[str]:
        return self.reasons

    async def exposition(self, encode: Callable[[Collector], bytes]) -> bytes:
        self.encoded.append(encode)
        return b"# of all processes\n"


def client_of(engine: Engine, settings: Settings, peers: Peers | None = None) -> httpx.AsyncClient:
    app = create_app(engine, settings)
    app.fastapi.state.services.peers = peers
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_a_process_that_answers_is_alive_before_a_model_is_loaded(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path)
    async with client_of(Engine(settings), settings) as http:
        answer = await http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_process_is_ready_when_its_models_are(repository: Path) -> None:
    settings = Settings(models=repository, threads=1)
    async with client_of(Engine(settings), settings) as http:
        answer = await http.get("/health/ready")
    assert answer.status_code == 503
    said = answer.json()
    assert said["status"] == "not ready"
    assert said["reasons"]
    assert all(isinstance(reason, str) for reason in said["reasons"])
    async with open_engine(settings) as engine, client_of(engine, settings) as http:
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reasons": []})
        assert answer.headers["content-type"] == "application/json"
        engine.draining = True
        assert (await http.get("/health/ready")).status_code == 503


@pytest.mark.parametrize("reasons", [[], ["worker 2: colors is not loaded"]])
async def test_of_several_processes_all_must_be_ready(repository: Path, reasons: list[str]) -> None:
    settings = Settings(models=repository, threads=1)
    async with (
        open_engine(settings) as engine,
        client_of(engine, settings, Peers(*reasons)) as http,
    ):
        answer = await http.get("/health/ready")
    assert answer.status_code == (503 if reasons else 200)
    status = "not ready" if reasons else "ready"
    assert answer.json() == {"status": status, "reasons": reasons}


class BusyPeers(Peers):
    """Peers whose answer takes some steps of the event loop; counts the queries at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = self.running = self.most = 0

    async def not_ready(self) -> list[str]:
        self.queries += 1
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(20):
            await asyncio.sleep(0)
        self.running -= 1
        return []


@pytest.mark.parametrize("path", ["/health/ready", "/v2/health/ready"])
async def test_any_number_of_probes_ask_the_other_processes_once_at_a_time(
    tmp_path: Path, path: str
) -> None:
    """Four hundred at once, which need no key, asked so often that no process answered, and none was ready."""
    settings, peers = Settings(models=tmp_path), BusyPeers()
    async with client_of(Engine(settings), settings, peers) as http:
        answers = await asyncio.gather(*(http.get(path) for _ in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert peers.most == 1
    assert peers.queries < 30


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", "text/plain", ""),
        ("text/plain", "text/plain", ""),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", "# EOF\n"),
        ("application/openmetrics-text;version=9e9999", "text/plain", ""),
        ('application/openmetrics-text;version="1.0.0"', "text/plain", ""),
        ("text/plain;version=latest", "text/plain; version=0.0.4", ""),
        ("application/openmetrics-text; version=\xff,text/plain;version=1..", "text/plain", ""),
        (
            "application/openmetrics-text;version=x,application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0",
            "# EOF\n",
        ),
    ],
)
async def test_metrics_come_in_the_form_that_the_scraper_takes(
    tmp_path: Path, accept: str, content_type: str, end: str
) -> None:
    settings = Settings(models=tmp_path)
    headers = [(b"accept", accept.encode("latin-1"))] if accept else []
    async with client_of(Engine(settings), settings) as http:
        answer = await http.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(content_type)
    assert answer.text.endswith(end)
    assert answer.text.endswith("# EOF\n") == bool(end)
    if not end:
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"foveal_requests", "foveal_build_info"} <= names


async def test_metrics_of_several_processes_are_those_of_all(tmp_path: Path) -> None:
    settings, peers = Settings(models=tmp_path), Peers()
    engine = Engine(settings)
    async with client_of(engine, settings, peers) as http:
        answer = await http.get("/metrics")
    assert answer.text == "# of all processes\n"
    (encode,) = peers.encoded
    assert b"foveal_build_info" in encode(engine.metrics.registry)


class Threads(Collector):
    """Notes the threads that collect it."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def collect(self) -> Iterator[Metric]:
        self.seen.add(threading.get_ident())
        yield from ()


@pytest.mark.parametrize("path", ["/metrics", "/v2/models/stats"])
async def test_metrics_are_never_collected_on_the_event_loop(tmp_path: Path, path: str) -> None:
    """With two hundred versions this takes a second."""
    settings, threads = Settings(models=tmp_path), Threads()
    engine = Engine(settings)
    engine.metrics.registry.register(threads)
    collect = engine.metrics.statistics.collect
    engine.metrics.statistics.collect = lambda: chain(threads.collect(), collect())  # type: ignore[method-assign]
    async with client_of(engine, settings) as http:
        threads.seen.clear()
        assert (await http.get(path)).status_code == 200
    assert threads.seen
    assert threading.get_ident() not in threads.seen


async def test_health_needs_no_key_by_the_document(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path)
    paths = create_app(Engine(settings), settings).fastapi.openapi()["paths"]
    assert paths["/health/live"]["get"]["security"] == []
    assert paths["/health/ready"]["get"]["security"] == []
    assert "security" not in paths["/metrics"]["get"] or paths["/metrics"]["get"]["security"] != []
    responses = paths["/health/ready"]["get"]["responses"]
    for status in ("200", "503"):
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema["required"] == ["status", "reasons"]
        assert schema["additionalProperties"] is False
        assert schema["properties"]["status"]["enum"] == ["ready", "not ready"]
