"""What loading costs the others: times requests to one model while another one is loaded beside it.

    python -m benchmarks.loading --model efficientnet-lite0 --loaded u2netp --rounds 20

One client sends one image after the other. In each round it does so for a while in which nothing is loaded, and then
while the other model is loaded by an admin call; it is unloaded between rounds.
"""

import argparse
import http.client
import itertools
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contenders import CACHE, foveal_command
from benchmarks.gpu.percentiles import percentile
from benchmarks.models import REPOSITORY
from benchmarks.server import HOST, Server, free_port, run_server
from service.keys import as_entry, new_key

QUIET_SECONDS = 2.0
WAIT_SECONDS = 0.5
PAUSE_SECONDS = 0.005
"""Between two requests, so that the model is not always busy."""


def main() -> None:
    """Print the median and the 99th percentile of both, and their ratios."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--model", default="efficientnet-lite0", help="gets the requests")
    arguments.add_argument("--loaded", default="u2netp", help="is loaded and unloaded")
    arguments.add_argument("--image", type=Path, default=Path("tests/data/cat.jpg"))
    arguments.add_argument("--rounds", type=int, default=20)
    given = arguments.parse_args()
    with _serving(given.model, given.loaded) as (server, key):
        quiet, loading, seconds = _measure(server, key, given)
    print(f"{given.loaded} is loaded beside {given.model}: {len(seconds)} loads of", end=" ")
    print(f"{_at(seconds, 0.5):.2f} s; requests: {len(quiet)} quiet, {len(loading)} while loading")
    for name, share in (("median", 0.5), ("p99", 0.99)):
        before, during = _at(quiet, share) * 1e3, _at(loading, share) * 1e3
        print(f"{name:>6}: {before:7.1f} ms → {during:7.1f} ms, {during / before:.2f} times")


@contextmanager
def _serving(*names: str) -> Iterator[tuple[Server, str]]:
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder, "models")
        for name in names:
            shutil.copytree(REPOSITORY / name, models / name)
        key = new_key()
        keys = Path(folder, "keys.toml")
        keys.write_text(as_entry("bench", key, ["admin", "infer"]))
        settings = {"FOVEAL_MODELS": models, "FOVEAL_KEYS": keys, "FOVEAL_ADMIN": "true"}
        with run_server(
            foveal_command(port := free_port()),
            {name: str(value) for name, value in settings.items()},
            port=port,
            probe=("/health/ready", None, ""),
            log=CACHE / "logs" / "loading.log",
        ) as server:
            yield server, key


def _measure(
    server: Server, key: str, given: argparse.Namespace
) -> tuple[list[float], list[float], list[float]]:
    """Return the seconds of requests without and beside a load, and those of the loads."""
    image = given.image.read_bytes()
    quiet: list[float] = []
    loading: list[float] = []
    loads: list[float] = []
    where, ended = [quiet], threading.Event()

    def send() -> None:
        connection = http.client.HTTPConnection(HOST, server.port)
        while not ended.is_set():
            target = where[0]
            began = time.perf_counter()
            _ask(connection, key, f"/v1/classify?model={given.model}", image)
            took = time.perf_counter() - began
            if target is where[0]:  # else it was sent in one and answered in the other
                target.append(took)
            time.sleep(PAUSE_SECONDS)

    admin = http.client.HTTPConnection(HOST, server.port)
    change = f"/v2/repository/models/{given.loaded}/"
    _ask(admin, key, change + "unload")
    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in itertools.repeat(None, given.rounds):
            time.sleep(QUIET_SECONDS)
            where[0] = loading
            began = time.perf_counter()
            _ask(admin, key, change + "load")
            loads.append(time.perf_counter() - began)
            where[0] = []
            _ask(admin, key, change + "unload")
            time.sleep(WAIT_SECONDS)
            where[0] = quiet
    finally:
        ended.set()
        thread.join()
    return quiet, loading, loads


def _ask(
    connection: http.client.HTTPConnection, key: str, path: str, body: bytes | None = None
) -> None:
    connection.request("POST", path, body, {"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {text[:300].decode(errors='replace')}")


def _at(values: list[float], share: float) -> float:
    return percentile(values, share) or math.nan


if __name__ == "__main__":
    main()
