"""A service whose log nobody reads, as where a collector of logs hangs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.keys import bearer, write_keys
from tests.servables import write_servable

REFUSED = 1000
"""Each has a line of the audit, which is written at once: together more than a pipe holds."""


def test_a_log_that_nobody_reads_stops_no_request_and_no_end(tmp_path: Path) -> None:
    write_servable(tmp_path)
    keys = write_keys(tmp_path / "keys.toml")
    settings = {"FOVEAL_PORT": "0", "FOVEAL_MODELS": str(tmp_path), "FOVEAL_KEYS": str(keys)}
    with subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve"],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            messages = (str(json.loads(line)["message"]) for line in process.stdout)
            url = next(found[0] for one in messages if (found := re.search(r"http://\S+", one)))
            with httpx.Client(base_url=url, timeout=10) as http:
                wrong = {"X-API-Key": "foveal_wrong"}
                for _ in range(REFUSED):
                    assert http.get("/v1/models", headers=wrong).status_code == 401
                assert http.get("/v1/models", headers=bearer("ada")).status_code == 200
            process.terminate()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
