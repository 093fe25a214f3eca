"""Models in Google Cloud Storage and in the hub of Hugging Face: their libraries ask, stand-ins answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servables import write_servable
from tests.service.storage.stand_ins import stand_in_for


@pytest.mark.parametrize("url", ["gs://bucket/models", "hf://owner/name/models"])
def test_a_folder_is_served_from_there(url: str, tmp_path: Path) -> None:
    path = write_servable(tmp_path / "here")
    files = {
        "models/colors/1/model.onnx": path.read_bytes(),
        "models/colors/1/README.md": b"no file of a version",
        "models/foveal.toml": b"[models.colors]\nttl_seconds = 5\n",
        "elsewhere/colors/2/model.onnx": b"",
    }
    with stand_in_for(files) as there:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.service.storage.fetch_once",
                url,
                str(tmp_path / "cache"),
            ],
            env=there.environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    ((found,), refusals) = json.loads(done.stdout)
    assert refusals == []
    assert Path(found).read_bytes() == path.read_bytes()
    assert [one.name for one in Path(found).parent.iterdir()] == ["model.onnx"]
    assert "hf_secret" not in done.stdout + done.stderr
    agents = {
        headers.get("User-Agent", headers.get("user-agent", "")) for _, headers in there.requests
    }
    assert not any("torch" in agent for agent in agents)
    assert not [path for path, _ in there.requests if "telemetry" in path]
