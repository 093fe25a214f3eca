import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.server import TIED

BENCHMARK = """
import sys
from pathlib import Path
from benchmarks.server import free_port, run_server
port = free_port()
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
with run_server(command, {}, port=port, probe=("/", None, ""), log=Path(sys.argv[1])) as server:
    print(server.tree.processes()[0].pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(shutil.which(TIED[0]) is None, reason="setpriv of util-linux is missing")
def test_a_server_ends_when_its_benchmark_is_killed(tmp_path: Path) -> None:
    benchmark = subprocess.Popen(
        [sys.executable, "-c", BENCHMARK, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with benchmark:
        assert benchmark.stdout is not None
        server = psutil.Process(int(benchmark.stdout.readline()))
        benchmark.send_signal(signal.SIGKILL)
        server.wait(10)

    assert not server.is_running()
