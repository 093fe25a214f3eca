"""A model that is sent is put into the repository whole, and what a killed process has left goes."""

import os
import time
from pathlib import Path

import pytest
from fastapi import Request
from starlette.types import Message

from service.api.ingest.model_upload import ABANDONED_SECONDS, DRAFT, receive_model

pytestmark = pytest.mark.anyio


def sent(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "PUT", "headers": []}, receive)


def draft(root: Path, name: str, written: float) -> Path:
    folder = root / f"{DRAFT}{name}"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"half a mod")
    for path in (folder / "model.onnx", folder):
        os.utime(path, (written, written))
    return folder


async def test_what_killed_processes_have_left_is_removed_and_what_arrives_is_not(
    tmp_path: Path,
) -> None:
    now = time.time()
    left = draft(tmp_path, "left", now - ABANDONED_SECONDS - 1)
    begun_long_ago = draft(tmp_path, "slow", now - ABANDONED_SECONDS - 1)
    os.utime(begun_long_ago / "model.onnx", (now, now))
    new = draft(tmp_path, "new", now)
    upload = await receive_model(sent(b"a model"), tmp_path, "m", 1, 100)
    assert upload is not None
    assert (upload.folder / "model.onnx").read_bytes() == b"a model"
    assert [one.exists() for one in (left, begun_long_ago, new)] == [False, True, True]
