"""Networks from strangers in a service on a real socket: they are refused with a reason, and the others are served."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bad_networks import endless, endless_when_bright
from tests.hostile_networks import crashing, huge_computed, huge_constant, nested_functions
from tests.images import plain
from tests.live import problem, serve, start
from tests.servables import write_servable

REASONS = {
    "computed": "its trial needs more than 1,024 MiB of memory (FOVEAL_TRIAL_BYTES)",
    "constant": "takes at least 68719476736 bytes; 1073741824 are allowed",
    "crash": "its trial ended its process with SIGFPE",
    "ends": "its trial did not end within 2 s (FOVEAL_TRIAL_SECONDS)",
    "laughs": "more than 1000000 nodes",
    "sticks": "its trial did not end within 2 s (FOVEAL_TRIAL_SECONDS)",
}


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other processors divide without a trap")
def test_hostile_networks_are_refused_with_the_reason_and_the_others_serve(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_servable(models, "computed", model=huge_computed())
    write_servable(models, "constant", model=huge_constant())
    write_servable(models, "crash", model=crashing())
    write_servable(models, "ends", model=endless())
    write_servable(models, "laughs", model=nested_functions(9, 10))
    write_servable(models, "sticks", model=endless_when_bright())
    write_servable(models, "good")
    settings: dict[str, Any] = {
        "trial": True,
        "trial_seconds": 2,
        "trial_bytes": 2**30,
        "cache": tmp_path / "cache",
    }
    with serve(models=models, **settings) as live, httpx.Client(base_url=live.url) as http:
        listed = {one["name"]: one for one in http.get("/v1/models").json()["models"]}
        assert {name: one["state"] for name, one in listed.items()} == {
            **dict.fromkeys(REASONS, "failed"),
            "good": "ready",
        }
        for name, reason in REASONS.items():
            assert reason in listed[name]["reason"], name
            assert str(tmp_path) not in listed[name]["reason"]
            problem(
                http.post(f"/v1/classify?model={name}", content=plain("red")),
                503,
                "model_not_ready",
            )
        assert http.post("/v1/classify?model=good", content=plain("red")).status_code == 200
    kept = [path.name for path in (tmp_path / "cache" / "trials").iterdir()]
    assert len(kept) == 2
    assert "lock" in kept


@pytest.mark.slow
def test_workers_try_a_network_once_and_the_log_names_the_reason(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_servable(models, "good")
    write_servable(models, "constant", model=huge_constant())
    settings = {"trial": "true", "cache": tmp_path / "cache", "workers": 2, "log_format": "json"}
    with start(models=models, **settings) as process:
        answer = httpx.post(
            f"{process.url}/v1/classify?model=good", content=plain("red"), timeout=20
        )
        assert answer.status_code == 200
    assert process.logged(r"constant is not served: .*takes at least 68719476736 bytes")
    assert len([*(tmp_path / "cache" / "trials").iterdir()]) == 2


def test_without_the_setting_nothing_is_tried_and_nothing_is_written(tmp_path: Path) -> None:
    write_servable(tmp_path / "models")
    with serve(models=tmp_path / "models", cache=tmp_path / "cache") as live:
        assert httpx.get(f"{live.url}/health/ready").status_code == 200
    assert not (tmp_path / "cache").exists()
