"""Odd files in the repository: the service starts, says what it can not serve and why, and serves the others."""

import os
from pathlib import Path

import httpx
import pytest

from tests.images import plain
from tests.live import serve
from tests.servables import write_servable


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_odd_files_keep_no_model_from_serving(tmp_path: Path) -> None:
    write_servable(tmp_path, "good")
    for name in ("length", "pipe", "folder", "link"):
        (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / "length" / "1" / "model.onnx").write_bytes(b"\x72" + b"\xff" * 5 + b"\x0f\0\0\0")
    os.mkfifo(tmp_path / "pipe" / "1" / "model.onnx")
    (tmp_path / "folder" / "1" / "model.onnx").mkdir()
    (tmp_path / "link" / "1" / "model.onnx").symlink_to("nowhere")
    with serve(models=tmp_path) as service, httpx.Client(base_url=service.url) as http:
        reasons = http.get("/health/ready").json()["reasons"]
        assert len(reasons) == 4
        for word in ("cut short", "no regular file", "Is a directory", "No such file"):
            assert any(word in reason for reason in reasons), word
        assert http.post("/v1/classify", content=plain("red")).status_code == 200
