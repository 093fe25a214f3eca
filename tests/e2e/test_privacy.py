"""No process of ours looks a name up, connects to a host or writes into the home folder; strace is the witness."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.images import plain
from tests.servables import write_servable

ROOT = Path(__file__).parents[2]
SERVE = ("service.cli", "serve")
SENT = re.compile(r"\b(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET")
LOOKED_UP = re.compile(r"/etc/resolv\.conf|/etc/hosts\b|/nscd/|systemd\.resolve")


@functools.cache
def can_trace() -> bool:
    """Return whether strace is installed and this machine lets it trace."""
    found = shutil.which("strace")
    return (
        bool(found)
        and not subprocess.run(
            [str(found), "-o", os.devnull, "true"], check=False, capture_output=True
        ).returncode
    )


class Watched:
    """Runs a program with an empty home folder and, where strace works, a trace of what it opens and connects to."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._trace = folder / "trace"

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        # -D: the program is the child, and strace its grandchild, so that signals reach the program.
        calls = "trace=network,open,openat,openat2"
        strace = ["strace", "-D", "-f", "-s", "256", "-e", calls, "-o", str(self._trace)]
        return subprocess.Popen(
            [*(strace if can_trace() else []), sys.executable, *arguments],
            cwd=ROOT,
            env={"PATH": os.defpath, "HOME": str(self.home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def written(self) -> list[str]:
        """Return what is in the home folder."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))

    def reached(self) -> list[str]:
        """Return the lines of the trace that look a name up or send to a host."""
        if not can_trace():
            pytest.skip("strace can not trace here")
        latest = time.monotonic() + 10
        while not re.search(r"\+\+\+ (?:exited|killed)[^\n]*\n\Z", self._trace.read_text()):
            assert time.monotonic() < latest, "strace did not end with the program"
            time.sleep(0.01)
        lines = self._trace.read_text(errors="replace").splitlines()
        assert len(lines) > 20, lines  # or it was no trace
        return [line for line in lines if SENT.search(line) or LOOKED_UP.search(line)]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@contextmanager
def serving(watched: Watched, models: Path, workers: int) -> Iterator[str]:
    environment = {"FOVEAL_PORT": "0", "FOVEAL_MODELS": str(models), "FOVEAL_DEVICE": "cpu"}
    process = watched.start("-m", *SERVE, **environment, FOVEAL_WORKERS=str(workers))
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r'http://[^\s"]+', line):
                yield found.group()
                process.send_signal(signal.SIGINT)
                break
        else:
            raise AssertionError(lines)
        process.stdout.read()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_reaches_nothing_and_writes_nothing_at_home(
    watched: Watched, repository: Path, workers: int
) -> None:
    with serving(watched, repository, workers) as url, httpx.Client(base_url=url) as http:
        assert http.post("/v1/classify", content=plain("red")).status_code == 200
        assert http.post("/v1/explain?view=occlusion", content=plain("red")).status_code == 200
        assert http.post("/v1/classify", content=b"no image").status_code == 415
        assert http.get("/metrics").status_code == 200
        assert http.get("/").status_code == 200
    assert watched.written() == []
    assert watched.reached() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("service.cli", "models"),
        ("service.cli", "doctor"),
        ("exporter.cli", "inspect", "FILE"),
    ],
)
def test_a_command_reaches_nothing_and_writes_nothing_at_home(
    watched: Watched, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    path = write_servable(tmp_path / "models")
    given = [str(path) if one == "FILE" else one for one in arguments]
    process = watched.start(
        "-m", *given, FOVEAL_MODELS=str(tmp_path / "models"), ORT_DISABLE_TELEMETRY="0"
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert watched.written() == []
    assert watched.reached() == []


def test_the_witness_sees_what_a_program_sends_and_writes(watched: Watched) -> None:
    program = (
        "import pathlib, socket; pathlib.Path.home().joinpath('a').touch();"
        "s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9));"
        "open('/etc/hosts').close()"
    )
    watched.start("-c", program).communicate(timeout=60)
    assert watched.written() == ["a"]
    assert len(watched.reached()) == 2


def test_onnx_runtime_is_never_loaded_with_its_telemetry_on() -> None:
    """Not by an import in another order either: each package sets the variable before its first module."""
    for module in ("service.runtime.session", "service.runtime.io_binding", "exporter.sessions"):
        program = f"import os, {module}; print(os.environ['ORT_DISABLE_TELEMETRY'])"
        environment = {"PATH": os.defpath, "ORT_DISABLE_TELEMETRY": "0"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "1", module
