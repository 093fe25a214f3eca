"""`foveal predict --ray` on a Ray cluster of this machine: its rows are those of one process, whatever is killed."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from service.bulk.predict import Input, Output, predict
from service.bulk.predictor import Wanted
from service.settings import Settings

pytest.importorskip("ray", reason="needs pip install -e '.[ray]'")

CLUSTER = """
import sys
from service.cluster.connection import connected
with connected("local", cpus=2, object_store_bytes=200_000_000) as ray:
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""

ENVIRONMENT = os.environ | {
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_raylet_start_wait_time_s": "150",
}
"""Without it, whoever starts a cluster on this machine meanwhile may replace the token in the home folder."""


@pytest.fixture
def cluster() -> Iterator[tuple[psutil.Process, str]]:
    """The process that started a cluster, and the cluster's address; closing its input ends it."""
    for _ in range(3):  # Ray gives up where a busy machine needs more than 30 s
        with subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=ENVIRONMENT,
        ) as process:
            assert process.stdout is not None
            if address := process.stdout.readline().strip():
                yield psutil.Process(process.pid), address
                return
    raise AssertionError("no cluster starts")


def workers_of(cluster: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in cluster.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("BulkWorker" in part for part in process.cmdline()):
                found.append(process)
    return found


def wait_for_rows(out: Path, size: int, process: "subprocess.Popen[bytes]") -> int:
    """Return the size of the results once it is larger."""
    while not out.exists() or out.stat().st_size <= size:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
        assert process.stderr is not None
        assert process.returncode is None, process.stderr.read()
    return out.stat().st_size


@pytest.mark.timeout(240)
def test_no_kill_of_a_worker_or_of_the_command_loses_or_repeats_a_row(
    cluster: tuple[psutil.Process, str], repository: Path, tmp_path: Path
) -> None:
    started, address = cluster
    names = []
    for index in range(400):
        path = tmp_path / f"{index:04}.png"
        if index % 50 == 7:
            path.write_bytes(b"no image")
        else:
            Image.fromarray(np.full((4, 4, 3), (index % 256, 80, 9), np.uint8)).save(path)
        names.append(f"{path}\n".encode())
    listed = b"".join(names)
    alone, out = tmp_path / "alone.jsonl", tmp_path / "ray.jsonl"
    given = Input(("-",), BytesIO(listed))
    wanted = Wanted("classify")
    settings = Settings(models=repository)
    assert asyncio.run(predict(settings, wanted, given, Output(alone))) == 1
    command = [sys.executable, "-m", "service.cli", "predict", "-", "--task", "classify"]
    command += ["--models", str(repository), "--out", str(out), "--resume"]
    command += ["--ray", address, "--ray-cpus", "1"]

    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as first:
        assert first.stdin is not None
        first.stdin.write(b"".join(names[:100]))  # and the list goes on
        first.stdin.flush()
        size = wait_for_rows(out, 0, first)
        killed = workers_of(started)[0]
        killed.send_signal(signal.SIGKILL)
        first.stdin.write(b"".join(names[100:300]))
        first.stdin.flush()
        wait_for_rows(out, size, first)
        first.kill()
    before = out.read_bytes()
    assert 0 < before.count(b"\n") < 400
    resumed = subprocess.run(
        command, input=listed, capture_output=True, check=False, env=ENVIRONMENT
    )

    assert resumed.returncode == 1, resumed.stderr
    assert b"400 images" in resumed.stderr
    assert b"from before; 8 failed" in resumed.stderr
    assert out.read_bytes() == alone.read_bytes()
    assert out.read_bytes().startswith(before[: before.rfind(b"\n")])


@pytest.mark.timeout(240)
def test_a_head_that_goes_ends_the_run_in_order_and_it_goes_on_without_ray(
    cluster: tuple[psutil.Process, str], repository: Path, tmp_path: Path
) -> None:
    started, address = cluster
    names = []
    for index in range(200):
        path = tmp_path / f"{index:04}.png"
        Image.fromarray(np.full((4, 4, 3), (index, 80, 9), np.uint8)).save(path)
        names.append(f"{path}\n".encode())
    out = tmp_path / "ray.jsonl"
    command = [sys.executable, "-m", "service.cli", "predict", "-", "--task", "classify"]
    command += ["--models", str(repository), "--out", str(out), "--resume"]

    with subprocess.Popen(
        [*command, "--ray", address, "--ray-cpus", "1"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as running:
        assert running.stdin is not None
        running.stdin.write(b"".join(names[:100]))
        running.stdin.flush()
        wait_for_rows(out, 0, running)
        for process in started.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
        _, said = running.communicate(b"".join(names[100:]))
    assert running.returncode == 2, said
    assert b"The head of the cluster does not answer any more." in said
    before = out.read_bytes()
    assert 0 < before.count(b"\n") < 200
    resumed = subprocess.run(
        command, input=b"".join(names), capture_output=True, check=False, env=ENVIRONMENT
    )
    assert resumed.returncode == 0, resumed.stderr
    assert out.read_bytes().startswith(before)
    rows = [json.loads(line)["image"] for line in out.read_bytes().splitlines()]
    assert rows == [name.decode().strip() for name in names]


def test_a_ray_that_is_not_there_is_an_error_that_names_it(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    command = [sys.executable, "-m", "service.cli", "predict", str(tmp_path), "--task", "classify"]
    command += ["--models", str(repository), "--out", str(tmp_path / "r.jsonl")]

    ended = subprocess.run(
        [*command, "--ray", "127.0.0.1:1"], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert "There is no Ray at 127.0.0.1:1: Connection refused" in " ".join(ended.stderr.split())
    assert not (tmp_path / "r.jsonl").exists()
