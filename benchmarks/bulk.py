"""`python -m benchmarks.bulk`: `foveal predict` beside the machine's limit, by turns, as a ratio in one run.

Turns are short, and a process is stopped while the other has its turn: what else the machine does then disturbs both
alike. The ratio of the CPU seconds per image depends on it least.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.images import IMAGES
from service.runtime.host import granted_threads

MODELS = Path("models")
WARM = 200
"""Rows before the first turn."""


class Limit:
    """`benchmarks.limit` as a process."""

    def __init__(self, model: str, image: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.limit"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        work = {
            "model": str(MODELS / model / "1" / "model.onnx"),
            "images": [str(image)],
            "device": "cpu",
            "precision": "fp32",
            "cores": granted_threads(),
        }
        self.layout = self._ask({**work, "sizes": [1, 2, 4, 8], "alone": False})["ready"]

    def measure(self, seconds: float) -> tuple[float, float]:
        """Return images per second, and CPU seconds per image."""
        before = cpu_seconds(self._process.pid)
        answer = self._ask({"seconds": seconds})
        return answer["images_per_second"], (cpu_seconds(self._process.pid) - before) / answer[
            "images"
        ]

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Predict:
    """`foveal predict` as a process that is stopped between its turns, so that both have the machine alone."""

    def __init__(self, model: str, image: Path, count: int, folder: Path) -> None:
        links = folder / "images"
        links.mkdir()
        for index in range(count):
            (links / f"{index:07}{image.suffix}").hardlink_to(image)
        self._out = folder / "results.jsonl"
        command = [sys.executable, "-m", "service.cli", "predict", str(links), "--task", "classify"]
        self._process = subprocess.Popen(
            [*command, "--model", model, "--models", str(MODELS), "--out", str(self._out)],
            stderr=subprocess.DEVNULL,
        )
        while self._rows() < WARM:
            time.sleep(0.1)
        self._process.send_signal(signal.SIGSTOP)

    def measure(self, seconds: float) -> tuple[float, float, float]:
        """Go on for this time, and return rows, seconds and CPU seconds of it."""
        rows, cpu = self._rows(), cpu_seconds(self._process.pid)
        began = time.perf_counter()
        self._process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGSTOP)
        took = time.perf_counter() - began
        return self._rows() - rows, took, cpu_seconds(self._process.pid) - cpu

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _rows(self) -> int:
        return self._out.read_bytes().count(b"\n") if self._out.exists() else 0


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, those of threads that have ended too."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def main(
    model: str = "efficientnet-lite0",
    image: Annotated[str, typer.Option(help=", ".join(IMAGES))] = "640×480 JPEG",
    seconds: Annotated[float, typer.Option(help="Of a turn")] = 2.0,
    turns: int = 24,
) -> None:
    """Measure both by turns, and print the ratios of all of them together."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / f"image.{'jpg' if 'JPEG' in image else 'png'}"
        file.write_bytes(IMAGES[image]())
        limit = Limit(model, file)
        print(f"{model}, {image}; the limit runs {limit.layout}")
        most = round(limit.measure(seconds)[0] * seconds * turns * 4) + WARM
        predict = Predict(model, file, most, folder)
        try:
            measured = [(limit.measure(seconds), predict.measure(seconds)) for _ in range(turns)]
        finally:
            predict.close()
            limit.close()
    limits = [one for one, _ in measured]
    rate = statistics.mean(one[0] for one in limits)
    cost = sum(one[1] * one[0] for one in limits) / sum(one[0] for one in limits)
    rows = sum(one[0] for _, one in measured)
    mine = rows / sum(one[1] for _, one in measured)
    spent = sum(one[2] for _, one in measured) / rows
    print(
        f"{turns} turns: limit {rate:.1f} images/s, predict {mine:.1f}: {mine / rate:.3f}; CPU per image "
        f"{cost * 1e3:.2f} and {spent * 1e3:.2f} ms: {spent / cost:.3f}"
    )


if __name__ == "__main__":
    typer.run(main)
