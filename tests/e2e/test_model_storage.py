"""Models from a place elsewhere on a real socket: served, changed, pinned, and not lost when the place is gone."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.file_server import FileServer, serve_files
from tests.images import plain
from tests.keys import bearer, write_keys
from tests.live import problem, serve, start
from tests.servables import color_card, color_model, write_servable

IMAGE = plain("red")


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Service:
    place: FileServer
    http: httpx.Client

    def version(self) -> int:
        answer = self.http.post("/v1/classify?model=colors", content=IMAGE)
        assert answer.status_code == 200, answer.text
        version: int = answer.json()["version"]
        return version

    def reload(self) -> dict[str, Any]:
        answer = self.http.post("/v1/admin/reload")
        assert answer.status_code == 200, answer.text
        report: dict[str, Any] = answer.json()
        return report


@pytest.fixture
def place(tmp_path: Path) -> Iterator[FileServer]:
    root = tmp_path / "place"
    write_servable(root)
    with serve_files(root) as server:
        yield server


@pytest.fixture
def settings(place: FileServer, tmp_path: Path) -> dict[str, Any]:
    return {"models": place.url, "models_cache": tmp_path / "cache", "device": "cpu"}


@pytest.fixture
def service(place: FileServer, settings: dict[str, Any], tmp_path: Path) -> Iterator[Service]:
    keys = write_keys(tmp_path / "keys.toml", {"root": ("admin", "infer")})
    with (
        serve(admin=True, keys=keys, **settings) as live,
        httpx.Client(base_url=live.url, headers=bearer("root"), timeout=15) as http,
    ):
        yield Service(place, http)


def test_a_reload_looks_at_the_place_again(service: Service) -> None:
    assert service.version() == 1
    write_servable(service.place.root, version=2)
    assert service.version() == 1
    assert service.reload()["loaded"] == ["colors:2"]
    assert service.version() == 2
    shutil.rmtree(service.place.root / "colors" / "2")
    assert service.reload()["removed"] == ["colors:2"]
    assert service.version() == 1


def test_a_version_is_loaded_by_a_call_that_names_no_place(service: Service) -> None:
    (service.place.root / "foveal.toml").write_text("[models.colors]\nversions = [3]\n")
    for version in (2, 3):
        write_servable(service.place.root, version=version)
    assert service.reload()["loaded"] == ["colors:3"]
    answer = service.http.put("/v1/models/colors/versions/2")
    assert answer.json()["loaded"] == ["colors:2"]
    assert service.reload() | {"drained": True} == {
        "loaded": [],
        "removed": [],
        "refused": {},
        "plans": {},
        "defaults": {},
        "drained": True,
    }
    for path in ("/v1/models/..%2fcolors/versions/2", "/v1/models/colors/versions/..%2f2"):
        assert service.http.put(path).status_code in {404, 422}


def test_a_place_that_is_gone_changes_nothing(service: Service) -> None:
    before = service.http.get("/v1/models").json()
    service.place.statuses["/"] = 503
    detail = problem(service.http.post("/v1/admin/reload"), 503, "storage_unavailable")
    assert "Nothing was changed" in detail
    assert "127.0.0.1" not in detail
    assert service.http.get("/v1/models").json() == before
    assert service.version() == 1
    alias = service.http.put("/v1/models/colors/aliases/stable", json={"version": 1})
    assert alias.status_code == 200, "what needs no file needs no place"


def test_a_version_that_is_broken_there_is_refused_and_the_served_goes_on(
    service: Service,
) -> None:
    path = service.place.root / "colors" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:500])
    for _ in range(3):
        refused = service.reload()["refused"]
        assert "cut short" in refused["colors:1"]
        assert "127.0.0.1" not in refused["colors:1"]
        assert service.version() == 1
    assert service.http.get("/health/ready").status_code == 200


def test_nothing_is_written_to_the_place(service: Service, tmp_path: Path) -> None:
    body = write_servable(tmp_path / "new").read_bytes()
    sent = service.http.put("/v1/models/colors/versions/2", content=body)
    assert "model storage" in problem(sent, 422, "refused_model")
    gone = service.http.delete("/v1/models/colors/versions/1?file=true")
    assert "model storage" in problem(gone, 422, "refused_model")
    assert service.version() == 1
    assert {method for method, _, _ in service.place.requests} == {"GET", "HEAD"}


def test_what_differs_from_the_lock_is_refused_with_both_digests(
    place: FileServer, settings: dict[str, Any], tmp_path: Path
) -> None:
    lock, keys = (
        tmp_path / "foveal.lock",
        write_keys(tmp_path / "keys.toml", {"root": ("admin", "infer")}),
    )
    wanted = {"FOVEAL_MODELS": place.url, "FOVEAL_MODELS_CACHE": str(tmp_path / "cache")}
    assert run("lock", "--lock", str(lock), **wanted).returncode == 0
    settings |= {"admin": True, "keys": keys, "models_lock": lock}
    with (
        serve(**settings) as live,
        httpx.Client(base_url=live.url, headers=bearer("root"), timeout=15) as http,
    ):
        service = Service(place, http)
        assert service.version() == 1
        card = color_card().model_copy(update={"title": "Another"})
        other = write_servable(tmp_path / "other", card=card, model=color_model(batch="M"))
        shutil.copy(other, place.root / "colors" / "1" / "model.onnx")
        for _ in range(2):
            assert service.reload()["refused"]["colors:1"].count("sha256:") >= 2
            assert service.version() == 1
        served = http.get("/v1/models/colors").text
        assert "Another" not in served


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_one_download(
    place: FileServer, settings: dict[str, Any], workers: int
) -> None:
    with start(**settings, workers=workers) as service:
        answer = httpx.post(f"{service.url}/v1/classify", content=IMAGE)
        assert answer.status_code == 200
        assert service.logged(r"fetching colors:1 from http://127\.0\.0\.1")
    assert len(place.fetched("model.onnx")) == 1


def test_a_start_without_the_place_is_an_error_or_the_cache(
    place: FileServer, settings: dict[str, Any]
) -> None:
    place.statuses["/"] = 503
    given = {f"FOVEAL_{name.upper()}": str(value) for name, value in settings.items()}
    done = run("serve", FOVEAL_PORT="0", **given)
    assert done.returncode == 2
    assert "has nothing whole" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stdout + done.stderr
    del place.statuses["/"]
    assert run("models", **given).returncode == 0
    place.statuses["/"] = 503
    with start(**settings) as service:
        assert service.logged("SERVING FROM THE CACHE: colors:1")
        assert httpx.post(f"{service.url}/v1/classify", content=IMAGE).status_code == 200


def test_probes_are_answered_while_a_slow_place_is_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        models = f"http://127.0.0.1:{silent.getsockname()[1]}/models"
        settings = {"FOVEAL_MODELS": models, "FOVEAL_MODELS_CACHE": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", "--port", str(port)],
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            asking, _ = silent.accept()
            with asking:  # and nothing is answered
                live = httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=30)
                ready = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=30)
                process.kill()
    assert live.status_code == 200
    assert ready.status_code == 503
    (reason,) = ready.json()["reasons"]
    assert reason.startswith(f"the models are being fetched from {models}")
